"""Local .mmdb files: any number of them, of every known schema."""

from __future__ import annotations

from geocli.databases.discovery import digest_of, examine, find, missing, order_of
from geocli.errors import DatabaseError
from geocli.models import ENGLISH, Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geocli.addresses import Address
    from geocli.databases.database import Database
    from geocli.databases.discovery import DatabaseFile
    from geocli.resolvers.protocols import Labels, Report

MAX_READS = 5
"""A database that was replaced while its content was read is read again, this often in all."""


class MmdbResolver:
    """Asks all databases of some directories, or exactly the files that a user named."""

    def __init__(
        self,
        directories: Sequence[str] = (),
        files: Sequence[str] = (),
        *,
        language: str = ENGLISH,
        named: Sequence[str] = (),
        warn: Report = lambda _: None,
    ) -> None:
        """Name the directories in their order, or the files in theirs; with files, directories are not searched.

        Args:
            directories: searched for databases.
            files: asked instead.
            language: of names.
            named: those of the directories that must be there.
            warn: told of each of them that is not, once, when the databases are first asked.

        """
        self._directories, self._files = directories, files
        self._named, self._warn = named, warn
        self.language = language
        """Language of names, as `settings.language` has it."""
        self._found: list[DatabaseFile] = []
        self._open: dict[str, Database] = {}
        self._ordered: tuple[list[Database], list[DatabaseError]] | None = None

    def sources(self, known: Labels | None, report: Report) -> list[tuple[str, DatabaseFile]]:
        """Return the databases that are there now, those of equal content once, in the order they are asked.

        The label is the edition and the SHA-256 of the content. A file is opened and hashed when its label is not yet
        known; without `known` none is, and the label is the path.
        """
        files = self._look(report)
        if known is None:
            found = [(file.path, file) for file in files]
        else:
            labeled = list(self._labeled(files, known, report))
            labeled.sort(key=lambda pair: order_of(pair[1], pair[0].partition("@")[0]))
            first: dict[str, DatabaseFile] = {}
            for label, file in labeled:
                first.setdefault(label, file)
            found = list(first.items())
        if [file.identity for _, file in found] != [file.identity for file in self._found]:
            self._found, self._ordered = [file for _, file in found], None
            at_hand = {file.identity for file in self._found}  # those that are gone need not take room any longer
            self._open = {path: each for path, each in tuple(self._open.items()) if each.file.identity in at_hand}
        return found

    def _look(self, report: Report) -> list[DatabaseFile]:
        if not self._files:
            return find(self._directories, report)
        found = []
        for number, path in enumerate(self._files):
            try:
                found.append(examine(path, number))
            except DatabaseError as error:
                report(error)
        return found

    def _labeled(
        self, files: Iterable[DatabaseFile], known: Labels, report: Report
    ) -> Iterator[tuple[str, DatabaseFile]]:
        for file in files:
            try:
                yield self._read(file, known)
            except DatabaseError as error:
                report(error)

    def _read(self, file: DatabaseFile, known: Labels) -> tuple[str, DatabaseFile]:
        """Return the label of a file, and the file, which may be replaced while it is read."""
        for _ in range(MAX_READS):
            if label := known.get(file):
                return label, file
            found: str | DatabaseError
            try:
                found = f"{self._database(file).name}@{digest_of(file.path)}"
            except DatabaseError as error:
                found = error
            before, file = file, examine(file.path, file.directory)
            if file != before:
                continue
            if isinstance(found, DatabaseError):
                raise found
            known.remember(file, found)
            return found, file
        raise DatabaseError(file.path, "changes while it is read; ask again")

    def _database(self, file: DatabaseFile) -> Database:
        """Return an open database, opened anew if the file was replaced."""
        from geocli.databases.database import Database

        database = self._open.get(file.path)
        if database is None or database.file.identity != file.identity:
            database = self._open[file.path] = Database(file)
        return database

    def databases(self, report: Report) -> list[Database]:
        """Return the databases that were there when `sources` looked, open, in the order they are asked.

        Each call reports those that cannot be opened: no answer is complete without them.
        """
        named, self._named = self._named, ()
        for problem in missing(named):
            self._warn(problem)
        opened = self._ordered or self._opened()
        for problem in opened[1]:
            report(problem)
        return opened[0]

    def _opened(self) -> tuple[list[Database], list[DatabaseError]]:
        databases, problems = [], []
        for file in self._found:
            try:
                databases.append(self._database(file))
            except DatabaseError as error:
                problems.append(error)
        self._ordered = sorted(databases, key=lambda database: database.order), problems
        return self._ordered

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Ask each database, and merge what they say."""
        answer: Answer | None = None
        for database in self.databases(report):
            if database.skips(address):
                continue
            try:
                said = ask(database, address, self.language)
            except DatabaseError as error:
                report(error)
            else:
                if answer is None:
                    answer = said
                elif said is not None:
                    from geocli.merging import merge

                    answer = merge(answer, said)
        return answer


def ask(database: Database, address: Address, language: str = ENGLISH) -> Answer | None:
    """Return what one database says of an address, None if it has no record.

    A record in which everything is unknown is an answer with an empty place: its prefix is known.

    Raises:
        DatabaseError: the database is damaged there.

    """
    record, prefix_len, _ = database.read(address)
    if record is None:
        return None

    from geocli.resolvers.mmdb_schemas import place_from

    place = place_from(record, language)
    return Answer(place=place, source=database.name, prefix_len=prefix_len, built_at=database.built_at)
