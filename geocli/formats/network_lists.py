"""Lists of networks: plain, as tables, and as files for nftables, ipset and nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from geocli.formats.rows import Output, json_text
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from geocli.selection import Selection

WITH_FIELDS = frozenset({"csv", "jsonl"})
"""Formats with fields of the networks."""
WITH_NAME = frozenset({"nft", "ipset", "nginx"})
"""Formats of files for other programs, which call the networks by a name."""
MAX_NAME_CHARS = 26
"""Names of ipset's sets have at most 31 characters, of which 5 are for the family."""
MAX_DERIVED_CHARS = 17


class Family(NamedTuple):
    """The text around the networks of one version of IP."""

    start: str = ""
    """Text before the first network, if there is one."""
    line_start: str = ""
    end: str = ""
    """Text after the last network."""


class NetworkList(NamedTuple):
    """The text around the networks of a list, one on each line."""

    families: Mapping[int, Family]
    """The families by version of IP."""
    header: str = ""
    footer: str = ""
    line_end: Callable[[Sequence[Any]], str] = lambda _: "\n"
    """Returns the end of the line of a network whose fields have these values."""
    shortest: int = 0
    """The shortest prefix length."""
    is_range: bool = False
    """Whether lines have the first and the last address."""


def network_list(
    format_: str, *, name: str, fields: Sequence[str], versions: Sequence[int], comments: Sequence[str]
) -> NetworkList:
    """Return a list in the format `cidr`, `range`, `csv`, `jsonl`, `nft`, `ipset` or `nginx`.

    The name is that of the set or the variable, the fields are those of the networks, the versions those of IP, and the
    comments are lines about the contents.
    """
    comment = "".join(f"# {safe(line)}\n" for line in comments)
    if format_ == "nft":
        return _nft(name, versions, comment)
    if format_ == "ipset":
        return _ipset(name, versions, comment)
    if format_ == "nginx":
        families = dict.fromkeys(versions, Family(line_start="    "))
        header = f"{comment}geo ${name} {{\n    default 0;\n"
        # A network of all addresses would be the default.
        return NetworkList(families, header, "}\n", lambda _: " 1;\n", shortest=1)
    if format_ == "csv":
        output = Output("csv", ("network", *fields))
        families = dict.fromkeys(versions, Family())
        return NetworkList(families, output.header.decode(), line_end=lambda values: _cells(output, values))
    if format_ == "jsonl":
        families = dict.fromkeys(versions, Family(line_start='{"network": "'))
        return NetworkList(families, line_end=lambda values: _members(fields, values))
    return NetworkList(dict.fromkeys(versions, Family()), is_range=format_ == "range")


def _cells(output: Output, values: Sequence[Any]) -> str:
    return "".join(f",{output.cell(value)}" for value in values) + "\n"


def _members(fields: Sequence[str], values: Sequence[Any]) -> str:
    members = zip(fields, values, strict=True)
    return '"' + "".join(f", {json_text(name)}: {json_text(value)}" for name, value in members) + "}\n"


def _nft(name: str, versions: Sequence[int], comment: str) -> NetworkList:
    """Return a file for `nft -f`, which replaces the elements of a set for each family in one transaction.

    The sets precede their elements, since rules may refer to a set that has none.
    """
    sets = [
        f"\tset {name}_ipv{version} {{\n\t\ttype ipv{version}_addr\n\t\tflags interval\n\t}}\n" for version in versions
    ]
    flushes = [f"flush set inet geocli {name}_ipv{version}\n" for version in versions]
    header = f"{comment}table inet geocli {{\n{''.join(sets)}}}\n{''.join(flushes)}"
    starts = {version: f"add element inet geocli {name}_ipv{version} {{\n" for version in versions}
    families = {version: Family(start, "\t", "}\n") for version, start in starts.items()}
    return NetworkList(families, header, line_end=lambda _: ",\n")


def _ipset(name: str, versions: Sequence[int], comment: str) -> NetworkList:
    """Return a file for `ipset restore`, which fills a new set for each family, and swaps it for the one in use."""
    sets = [(version, f"{name}_ipv{version}", f"{name}_new{version}") for version in versions]
    # The options are always the same, as -exist requires.
    creates = [
        f"create {set_name} hash:net family {'inet' if version == 4 else 'inet6'} maxelem 16777216 -exist\n"
        for version, *names in sets
        for set_name in names
    ]
    flushes = [f"flush {new}\n" for _, _, new in sets]
    families = {version: Family(line_start=f"add {new} ") for version, _, new in sets}
    footer = "".join(f"swap {new} {in_use}\ndestroy {new}\n" for _, in_use, new in sets)
    # hash:net has no prefix of 0 bits.
    return NetworkList(families, comment + "".join(creates + flushes), footer, shortest=1)


def name_of(selection: Selection) -> str:
    """Return a name for a selection, of letters, digits and underscores: `geocli_nl_be`, `geocli_as15169`.

    Of a long one the end is replaced by a checksum.
    """
    parts = []
    for condition in selection.conditions:
        field = condition.field.removeprefix("traits.")
        start = {"country_code": "", "asn": "as"}.get(field, f"{field}_")
        values = "_".join(condition.texts)
        parts.append(f"{'not_' if condition.is_negated else ''}{start}{values}")
    text = "_".join(parts).lower()
    name = "".join(char if char.isascii() and char.isalnum() else "_" for char in text)
    if name != text or len(name) > MAX_DERIVED_CHARS:
        name = f"{name[: MAX_DERIVED_CHARS - 9].strip('_')}_{crc32(text.encode()):08x}"
    return f"geocli_{name}"


def is_name(text: str) -> bool:
    """Return whether a string can be the name of a set of nftables, a set of ipset and a variable of nginx."""
    return len(text) <= MAX_NAME_CHARS and text.isascii() and text.isidentifier() and text[0] != "_"
