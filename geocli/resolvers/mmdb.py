"""Resolve addresses by .mmdb files of any known schema."""

from __future__ import annotations

from contextlib import suppress

from geocli.databases.discovery import digest_of, examine, find, missing, order_of, usable
from geocli.errors import DatabaseError
from geocli.models import ENGLISH, Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geocli.addresses import Address
    from geocli.databases.database import Database
    from geocli.databases.discovery import DatabaseFile
    from geocli.databases.leaves import Leaf, Leaves
    from geocli.models import Place
    from geocli.resolvers.protocols import Labels, Report

MANY_RECORDS = 5_000
"""Number of records after which reading the whole search tree saves time; addresses without one take little."""
MAX_PLACES, MAX_ANSWERS = 20_000, 100_000
"""Maximum number of places that are remembered, in about 50 MB; of their answers, in about 50 MB."""
MAX_READS = 5
"""Maximum number of reads of a database that is replaced while it is read."""


class MmdbResolver:
    """Asks the databases of directories, or named files.

    Attributes:
        language: language of names, as in `Settings.language`.

    """

    def __init__(
        self,
        directories: Sequence[str] = (),
        files: Sequence[str] = (),
        *,
        language: str = ENGLISH,
        named: Sequence[str] = (),
        warn: Report = lambda _: None,
    ) -> None:
        """No file is opened before the first resolution.

        `files` are used instead of the databases of directories. At the first resolution, `warn` is called with an
        error for each of the directories `named` that does not exist.
        """
        self._directories, self._files = directories, files
        self._named, self._warn = named, warn
        self.language = language
        self._found: list[DatabaseFile] = []
        self._open: dict[str, Database] = {}
        self._ordered: tuple[list[Answers], list[DatabaseError]] | None = None

    def sources(self, labels: Labels | None, report: Report) -> list[tuple[str, DatabaseFile]]:
        """Return the current databases in their order, those of equal content once.

        The label is the edition and the SHA-256 of the content. A file is opened and hashed if its label is not known.
        Without `labels`, no file is opened, and the label is the path.
        """
        files = self._find(report)
        if labels is None:
            sources = [(file.path, file) for file in files]
        else:
            sources = self._distinct(usable(self._read, ((file, labels) for file in files), report))
        if [file.identity for _, file in sources] != [file.identity for file in self._found]:
            self._found, self._ordered = [file for _, file in sources], None
            # Databases that were removed or replaced need not stay open.
            current = {file.identity for file in self._found}
            self._open = {
                path: database for path, database in tuple(self._open.items()) if database.file.identity in current
            }
        return sources

    @staticmethod
    def _distinct(labeled: Iterable[tuple[str, DatabaseFile]]) -> list[tuple[str, DatabaseFile]]:
        """Return labelled files in the order of databases, those of equal labels once."""
        ordered = sorted(labeled, key=lambda pair: order_of(pair[1], pair[0].partition("@")[0]))
        first: dict[str, DatabaseFile] = {}
        for label, file in ordered:
            first.setdefault(label, file)
        return list(first.items())

    def _find(self, report: Report) -> list[DatabaseFile]:
        if not self._files:
            return find(self._directories, report)
        return list(usable(examine, ((path, at) for at, path in enumerate(self._files)), report))

    def _read(self, file: DatabaseFile, labels: Labels) -> tuple[str, DatabaseFile]:
        """Return the label of a file, and its status, which changes if it is replaced while it is read."""
        for _ in range(MAX_READS):
            if label := labels.get(file):
                return label, file
            result: str | DatabaseError
            try:
                result = f"{self._database(file).name}@{digest_of(file.path)}"
            except DatabaseError as error:
                result = error
            before, file = file, examine(file.path, file.directory)
            if file != before:
                continue
            if isinstance(result, DatabaseError):
                raise result
            labels.remember(file, result)
            return result, file
        raise DatabaseError(file.path, "changes while it is read; try again")

    def _database(self, file: DatabaseFile) -> Database:
        """Return an open database, reopened if the file was replaced."""
        from geocli.databases.database import Database

        database = self._open.get(file.path)
        if database is None or database.file.identity != file.identity:
            database = self._open[file.path] = Database(file)
        return database

    def databases(self, report: Report) -> list[Database]:
        """Return the open databases of the last call of `sources`, in their order.

        Each call reports those that cannot be opened, since answers are incomplete without them.
        """
        return [answers.database for answers in self._answers(report)]

    def _answers(self, report: Report) -> list[Answers]:
        answers, problems = self._ordered or self._opened()
        for problem in problems:
            report(problem)
        return answers

    def _opened(self) -> tuple[list[Answers], list[DatabaseError]]:
        named, self._named = self._named, ()
        for problem in missing(named):
            self._warn(problem)
        problems: list[DatabaseError] = []
        databases = usable(self._database, zip(self._found, strict=True), problems.append)
        ordered = sorted(databases, key=lambda database: database.order)
        self._ordered = [Answers(database, self.language) for database in ordered], problems
        return self._ordered

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Ask each database, and merge the answers."""
        answer: Answer | None = None
        for answers in self._answers(report):
            if answers.database.only_ipv4 and address.version == 6:
                continue
            try:
                its_answer = answers.get(address)
            except DatabaseError as error:
                report(error)
            else:
                if answer is None:
                    answer = its_answer
                elif its_answer is not None:
                    from geocli.merging import merge

                    answer = merge(answer, its_answer)
        return answer


class Answers:
    """The answers of one database."""

    def __init__(self, database: Database, language: str) -> None:
        self.database, self._language = database, language
        self._read = 0
        self._leaves: Leaves | None = None
        self._by_leaf: dict[Leaf, Answer | None] = {}
        self._by_record: dict[int, Answer] = {}
        """Answers from records by their offsets; of different leaves, they differ by their prefix lengths."""

    def get(self, address: Address) -> Answer | None:
        """Return the answer for an address, as `ask` does; after many records, once for each."""
        if self._leaves is not None:
            leaf = self._leaves.leaf(address)
            try:
                return self._by_leaf[leaf]
            except KeyError:
                return self._of_leaf(leaf, address)
        answer = ask(self.database, address, self._language)
        if answer is not None:
            self._read += 1
            if self._read == MANY_RECORDS:
                self._read_tree()
        return answer

    def _read_tree(self) -> None:
        from geocli.databases.leaves import Leaves

        with suppress(ValueError, OSError, DatabaseError):
            self._leaves = Leaves(self.database)

    def _of_leaf(self, leaf: Leaf, address: Address) -> Answer | None:
        """Return the answer of a leaf, by an address that it is for, and remember it."""
        bits, record, below = leaf
        if len(self._by_leaf) >= MAX_ANSWERS:
            self._by_leaf.clear()
            self._by_record.clear()
        answer = self._by_record.get(record)
        if answer is not None:
            answer = answer.replace(prefix_len=bits - below)
        else:
            answer = ask(self.database, address, self._language)
            if answer is not None and answer.prefix_len == bits - below:
                self._by_record[record] = answer
        self._by_leaf[leaf] = answer
        return answer


def ask(database: Database, address: Address, language: str = ENGLISH) -> Answer | None:
    """Return the answer of one database for an address, None if it has no record, or raise DatabaseError.

    A record without known values is an answer with an empty place, since its prefix length is known.
    """
    record, prefix_len, packed = database.read(address)
    if record is None:
        return None
    place = _place(record, packed, language)
    return Answer(place=place, source=database.name, prefix_len=prefix_len, built_at=database.built_at)


_places: dict[tuple[bytes, str], Place] = {}


def _place(record: object, packed: bytes, language: str) -> Place:
    """Return the place of a record, which many addresses may have."""
    from geocli.resolvers.mmdb_schemas import place_from

    place = _places.get((packed, language))
    if place is None:
        if len(_places) >= MAX_PLACES:
            _places.clear()
        place = _places[packed, language] = place_from(record, language)
    return place
