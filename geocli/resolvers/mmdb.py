"""Local .mmdb files: any number of them, and every schema that is about, by the shape of its records."""

from __future__ import annotations

from functools import lru_cache

from geocli.databases.discovery import Database, digest_of, examine, find, order_of
from geocli.entries import Answer, Place, merge
from geocli.errors import DatabaseError
from geocli.resolvers.conversions import Degrees, asn_of, code_of, plain, text_of
from geocli.resolvers.countries import country_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from geocli.addresses import Address
    from geocli.databases.discovery import DatabaseFile
    from geocli.resolvers import Labels, Report
    from geocli.resolvers.conversions import Conversion

MAX_READS = 5
"""A database that was replaced while its content was read is read again, this often in all."""


class MmdbResolver:
    """Asks all databases of some directories, or exactly the files that a user named."""

    def __init__(self, directories: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        """Name the directories in their order, or the files in theirs; with files, directories are left alone."""
        self._directories, self._files = directories, files
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
        database = self._open.get(file.path)
        if database is None or database.file.identity != file.identity:
            database = self._open[file.path] = Database(file)
        return database

    def databases(self, report: Report) -> list[Database]:
        """Return the databases that were there when `sources` looked, open, in the order they are asked.

        Each call reports those that cannot be opened: no answer is complete without them.
        """
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
                said = ask(database, address)
            except DatabaseError as error:
                report(error)
            else:
                if said is not None:
                    answer = said if answer is None else merge(answer, said)
        return answer


def ask(database: Database, address: Address) -> Answer | None:
    """Return what one database says of an address, None if it has no record or nothing of use in it.

    Raises:
        DatabaseError: the database is damaged there.

    """
    record, prefix_len = record_at(database, address)
    place = place_from(record)
    if not vars(place):
        return None
    return Answer(place=place, source=database.name, prefix_len=prefix_len, built_at=database.built_at)


def record_at(database: Database, address: Address | str) -> tuple[Any, int]:
    """Return what a database holds at an address, and the length of the prefix that it holds for.

    Raises:
        DatabaseError: the database is damaged there.

    """
    try:
        return database.reader.get_with_prefix_len(address)
    except (RuntimeError, ValueError) as error:  # maxminddb_rust.InvalidDatabaseError is a RuntimeError
        raise DatabaseError(database.file.path, f"damaged: {error}; install it anew") from error


def place_from(record: object) -> Place:
    """Map a record of any known schema to a place."""
    return Place(**fields_of(record))


def fields_of(record: object, *, with_traits: bool = True) -> dict[str, Any]:
    """Map a record of any known schema to those fields of a place that it knows.

    Nested records are MaxMind's and DB-IP's, flat ones IPinfo's and ip-location-db's. What has no field
    of its own goes to `traits` under its own name. Values of a wrong type are left out.
    """
    if not isinstance(record, dict):
        return {}
    if not with_traits:
        record = {name: value for name, value in record.items() if name not in ONLY_TRAITS}
    flat = _flattened(record)
    if code := code_of(flat.get("country")):  # IPinfo's older files; elsewhere it is the name
        flat = {**flat, "country_code": code_of(flat.get("country_code")) or code, "country": None}
    fields, others = _plan(tuple(flat))
    found = {field: conversion(flat[name]) for name, field, conversion in fields if flat[name] is not None}
    said = {field: what for field, what in found.items() if what is not None}
    if "country_name" not in said and (name := country_name(said.get("country_code"))):
        said["country_name"] = name
    if "org" not in said and (isp := text_of(flat.get("isp"))):
        said["org"] = isp
    if with_traits and (traits := {name: what for name in others if (what := plain(flat[name])) is not None}):
        said["traits"] = traits
    return said


def mapping_of(template: object) -> tuple[dict[str, tuple[Any, Conversion]], dict[str, Any]] | None:
    """Work out how `fields_of` maps all records that have the same keys and types of values.

    Args:
        template: such a record, with objects of any other type in place of the values that are no dict or list.

    Returns:
        For each field the object whose value it has, and what converts that, to None if it is of no use; and what goes
        to the traits, by name. `isp` is among the fields too: it stands in for a missing `org`, as a country's name
        follows from its code. None if all this depends on values.

    """
    flat = _flattened(template) if isinstance(template, dict) else {"country": template}
    if "country" in flat:
        return None
    fields, others = _plan(tuple(flat))
    chosen = {field: (flat[name], conversion) for name, field, conversion in fields if flat[name] is not None}
    if "isp" in flat:
        chosen["isp"] = flat["isp"], text_of
    return chosen, {name: flat[name] for name in others if flat[name] is not None}


@lru_cache(1024)
def _plan(names: tuple[str, ...]) -> tuple[list[tuple[str, str, Conversion]], list[str]]:
    """Divide the names in a record: those of fields of a place, the best one of each last, and all others."""
    ranked = sorted((name for name in names if name in _FIELDS), key=lambda name: -_FIELDS[name][1])
    fields = [(name, _FIELDS[name][0]) for name in ranked]
    return [(name, field, _CONVERSIONS[field]) for name, field in fields], [n for n in names if n not in _FIELDS]


def _flattened(record: dict[str, Any]) -> dict[str, Any]:
    """Bring a nested record into the flat form; a flat one stays as it is, unless it is about a network alone."""
    if _NESTING.isdisjoint(map(type, record.values())):
        return _network(record) if "name" in record and "asn" in record else record
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if name == "subdivisions" and isinstance(value, list):
            flat |= _subdivisions(value)
        elif isinstance(value, dict):
            flat |= _NESTED.get(name, _other)(name, value)
        else:
            flat[name] = value
    return flat


def _named(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Flatten what has a code and names: `iso_code` of a country becomes `country_code`."""
    names = value.get("names")
    said = {_joined(name, key): what for key, what in value.items() if key != "names"}
    if isinstance(names, dict):
        said[_joined(name, "name")] = names.get("en")
    return said


@lru_cache(1024)
def _joined(name: str, key: str) -> str:
    return f"{name}_{key.removeprefix('iso_')}"


def _country(name: str, value: dict[str, Any]) -> dict[str, Any]:
    said = _named(name, value)
    return said | {"is_in_european_union": said.pop("country_is_in_european_union", None)}


def _city(name: str, value: dict[str, Any]) -> dict[str, Any]:
    said = _named(name, value)
    return said | {"city": said.pop("city_name", None)}


def _inner(_: str, value: dict[str, Any]) -> dict[str, Any]:
    return value


def _other(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {name: value}


_NESTED = {
    "continent": _named,
    "country": _country,
    "city": _city,
    "location": _inner,
    "traits": _inner,
    "postal": _named,
    "registered_country": _named,
    "represented_country": _named,
}


def _network(flat: dict[str, Any]) -> dict[str, Any]:
    """Rename what IPinfo's and IPLocate's ASN files say of a network: its country is where it is registered."""
    names = {"country_code": "as_country_code", "country": "as_country_code"}
    if flat.keys().isdisjoint(("org", "as_name")):
        names["name"] = "as_name"
    return {names.get(name, name): what for name, what in flat.items()}


def _subdivisions(values: list[Any]) -> dict[str, Any]:
    """Name the first-level subdivision; of smaller ones only the code is kept."""
    dicts = [value for value in values if isinstance(value, dict)]
    said = _named("region", dicts[0]) if dicts else {}
    smaller = {"subdivision_code": dicts[-1].get("iso_code")} if len(dicts) > 1 else {}
    return said | {"region": said.pop("region_name", None)} | smaller


_NAMES = {
    "country_code": ("country_code",),
    "country_name": ("country_name", "country"),
    "region": ("region", "state1", "stateprov"),
    "city": ("city",),
    "postal_code": ("postal_code", "postcode", "postal", "zip"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lng", "lon"),
    "time_zone": ("time_zone", "timezone"),
    "asn": ("autonomous_system_number", "asn"),
    "org": ("autonomous_system_organization", "as_name", "org"),
}
"""The names that databases give to each field of a place; of several in a record the first counts."""
ONLY_TRAITS = frozenset({"continent", "registered_country", "represented_country"})
"""Keys of a nested record whose values go to the traits alone."""
_NESTING = frozenset({dict, list})
_FIELDS = {name: (field, rank) for field, names in _NAMES.items() for rank, name in enumerate(names)}
_CONVERSIONS: dict[str, Conversion] = {
    **dict.fromkeys(_NAMES, text_of),
    "country_code": code_of,
    "latitude": Degrees(90),
    "longitude": Degrees(180),
    "asn": asn_of,
}
