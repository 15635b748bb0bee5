"""`networks`, after its options are parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.console import complain
from geocli.engine.selected_networks import FIELDS_OF_ADDRESSES, SelectedNetworks
from geocli.errors import GeocliError, SettingsError
from geocli.files.atomic import output_to
from geocli.formats.network_lists import MAX_NAME_CHARS, WITH_FIELDS, WITH_NAME, is_name, name_of, network_list
from geocli.immutable import Value
from geocli.resolvers.chain import default_resolvers
from geocli.resolvers.mmdb import MmdbResolver
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.databases.database import Database
    from geocli.errors import ResolveError
    from geocli.formats.network_lists import NetworkList
    from geocli.selection import Selection
    from geocli.settings import Settings

WRITE_BYTES = 1 << 18
"""Output is written in parts of about this size."""
EDITIONS = {
    **dict.fromkeys(("country_code", "country_name", "traits.continent_code"), "dbip-country-lite"),
    **dict.fromkeys(("region", "city", "latitude", "longitude"), "dbip-city-lite"),
    **dict.fromkeys(("asn", "org"), "dbip-asn-lite"),
}
"""Databases without an account that have a field."""


class NetworksRequest(Value):
    """The options of `networks`, except those of its selection."""

    versions: tuple[int, ...]
    """Versions of IP, in their order."""
    format: str
    fields: tuple[str, ...] | None
    """Fields of CSV and JSON; default: those of the selection."""
    is_apart: bool
    """Whether the networks of the databases are not merged."""
    name: str | None
    """Name of the set or the variable; default: derived from the selection."""
    output: str | None
    """File; default: standard output."""


def run(settings: Settings, selection: Selection | None, request: NetworksRequest) -> int:
    """Write the selected networks, and return the exit status."""
    if selection is None:
        raise SettingsError("networks", "choose some with --country, --asn, --only or --except", origin=COMMAND_LINE)
    _check(request, selection)
    databases = _databases(settings)
    fields = (request.fields or selection.fields) if request.format in WITH_FIELDS else ()
    networks = SelectedNetworks(databases, selection, fields, settings.language)
    for field in networks.unknown_fields:
        raise _missing(field)
    form = network_list(
        request.format,
        name=request.name or name_of(selection),
        fields=fields,
        versions=request.versions,
        comments=[str(selection), *_origins(databases)],
    )
    with output_to(request.output) as put:
        for block in _blocks(_text(networks, form, request, selection)):
            put(block)
    # With one family alone, the other may have networks.
    for field, text in sorted(networks.unmet) if len(request.versions) == 2 else ():
        complain(f"{field.removeprefix('traits.')}={text}: no selected network has it")
    return 0


def _check(request: NetworksRequest, selection: Selection) -> None:
    """Raise SettingsError if options contradict each other."""
    for option, value, formats in (("-F", request.fields, WITH_FIELDS), ("--name", request.name, WITH_NAME)):
        if value and request.format not in formats:
            raise SettingsError(option, f"cannot be used with -f {request.format}", origin=COMMAND_LINE)
    for field in (*selection.fields, *(request.fields or ())):
        if field in FIELDS_OF_ADDRESSES:
            raise SettingsError(field, "a field of addresses, not of networks", origin=COMMAND_LINE)
    if request.name is not None and not is_name(request.name):
        reason = f"not a name of at most {MAX_NAME_CHARS} letters, digits and underscores"
        raise SettingsError(f"--name {request.name}", reason, origin=COMMAND_LINE)


def _databases(settings: Settings) -> list[Database]:
    """Return the databases in their order; all must be readable, or networks would be missing."""

    def fail(error: ResolveError) -> None:
        raise error

    resolver = next(each for each in default_resolvers(settings, complain) if isinstance(each, MmdbResolver))
    resolver.sources(None, fail)
    databases = resolver.databases(fail)
    if not databases:
        reason = "none is installed, and the built-in data have no networks; get one with: "
        raise SettingsError("databases", f"{reason}geocli db update dbip-country-lite", origin="networks")
    return databases


def _missing(field: str) -> SettingsError:
    edition = EDITIONS.get(field)
    advice = f"; get one with: geocli db update {edition}" if edition else "; see geocli db list"
    return SettingsError(field.removeprefix("traits."), f"no database has this field{advice}", origin="networks")


def _origins(databases: list[Database]) -> Iterator[str]:
    """Return a line for each database, and the attributions."""
    for database in databases:
        built = f", built {database.built_at:%Y-%m-%d}" if database.built_at else ""
        yield f"{database.name}{built}"
    yield from dict.fromkeys(filter(None, (database.attribution for database in databases)))


def _text(
    networks: SelectedNetworks, form: NetworkList, request: NetworksRequest, selection: Selection
) -> Iterator[bytes]:
    """Return the parts of the list; raise GeocliError if no network is selected."""
    from geocli.engine.networks import Lines

    is_empty = True
    for version in request.versions:
        family = form.families[version]
        lines = Lines(family.line_start, is_range=form.is_range, shortest=form.shortest)
        is_first = True
        for text in networks.lines(version, lines, form.line_end, is_apart=request.is_apart):
            if is_empty:
                yield form.header.encode()
            if is_first:
                yield family.start.encode()
            is_empty = is_first = False
            yield text
        if not is_first:
            yield family.end.encode()
    if is_empty:
        raise _nothing_selected(selection)
    yield form.footer.encode()


def _nothing_selected(selection: Selection) -> GeocliError:
    is_union = any(condition.field == "country_code" and "EU" in condition.texts for condition in selection.conditions)
    hint = "; for the countries of the European Union: --only is_in_european_union=true" if is_union else ""
    return GeocliError(f"networks: no network of the databases has {selection}; nothing was written{hint}")


def _blocks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Join parts to blocks for writing."""
    block = bytearray()
    for part in parts:
        block += part
        if len(block) >= WRITE_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)
