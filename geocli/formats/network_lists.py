"""Lists of networks: plain, as tables, and as files for nftables, ipset and nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from geocli.formats.rows import Output, json_text
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from geocli.selection import Selection

FORMATS = ("cidr", "range", "csv", "jsonl", "nft", "ipset", "nginx")
WITH_FIELDS = frozenset({"csv", "jsonl"})
"""Formats with fields of the networks."""
WITH_NAME = frozenset({"nft", "ipset", "nginx"})
"""Formats of files for other programs, which call the networks by a name."""
MAX_NAME_CHARS = 26
"""Names of ipset's sets have at most 31 characters, of which 5 are for the family."""
MAX_DERIVED_CHARS = 17


class NetworkList:
    """A plain list: a line for each network.

    Attributes:
        before: what each line begins with.
        shortest: the shortest prefix length.
        is_range: whether lines have the first and the last address.

    """

    before = ""
    shortest = 0
    is_range = False

    def header(self) -> str:
        """Return what the list begins with."""
        return ""

    def family(self, version: int) -> str:
        """Return what comes before the first network of a family, if there is one."""
        del version
        return ""

    def line_start(self, version: int) -> str:
        """Return what each line of a family begins with."""
        del version
        return self.before

    def tail(self, values: Sequence[Any]) -> str:
        """Return the end of a line of a network whose fields have these values."""
        del values
        return "\n"

    def family_end(self, version: int) -> str:
        """Return what comes after the last network of a family."""
        del version
        return ""

    def footer(self) -> str:
        """Return what the list ends with."""
        return ""


class RangeList(NetworkList):
    """The first and the last address of each range."""

    is_range = True


class CsvList(NetworkList):
    """CSV with the network and fields of it."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._output = Output("csv", ("network", *fields))

    def header(self) -> str:
        """Return the names of the columns."""
        return self._output.header.decode()

    def tail(self, values: Sequence[Any]) -> str:
        """Return the other cells."""
        return "".join(f",{self._output.cell(value)}" for value in values) + "\n"


class JsonList(NetworkList):
    """An object for each network."""

    before = '{"network": "'

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields

    def tail(self, values: Sequence[Any]) -> str:
        """Return the other members."""
        members = zip(self._fields, values, strict=True)
        return '"' + "".join(f", {json_text(name)}: {json_text(value)}" for name, value in members) + "}\n"


class NftList(NetworkList):
    """A file for `nft -f`, which replaces the elements of a set for each family in one transaction."""

    before = "\t"

    def __init__(self, name: str, versions: Sequence[int], comments: Sequence[str]) -> None:
        self._name, self._versions, self._comments = name, versions, comments

    def header(self) -> str:
        """Return the sets, which rules may refer to before they have elements."""
        sets = [
            f"\tset {self._name}_ipv{version} {{\n\t\ttype ipv{version}_addr\n\t\tflags interval\n\t}}\n"
            for version in self._versions
        ]
        flushed = [f"flush set inet geocli {self._name}_ipv{version}\n" for version in self._versions]
        return f"{_comment(self._comments)}table inet geocli {{\n{''.join(sets)}}}\n{''.join(flushed)}"

    def family(self, version: int) -> str:
        """Return the beginning of a list of elements."""
        return f"add element inet geocli {self._name}_ipv{version} {{\n"

    def tail(self, values: Sequence[Any]) -> str:
        """Return what separates elements."""
        del values
        return ",\n"

    def family_end(self, version: int) -> str:
        """Return the end of a list of elements."""
        del version
        return "}\n"


class IpsetList(NetworkList):
    """A file for `ipset restore`, which fills a new set for each family, and swaps it for the one in use."""

    shortest = 1  # hash:net has no prefix of 0 bits

    def __init__(self, name: str, versions: Sequence[int], comments: Sequence[str]) -> None:
        self._name, self._versions, self._comments = name, versions, comments

    def header(self) -> str:
        """Return the commands that create the sets; the options are always the same, as -exist requires."""
        created = [
            f"create {name} hash:net family {'inet' if version == 4 else 'inet6'} maxelem 16777216 -exist\n"
            for version in self._versions
            for name in self._names(version)
        ]
        flushed = [f"flush {self._names(version)[1]}\n" for version in self._versions]
        return _comment(self._comments) + "".join(created + flushed)

    def line_start(self, version: int) -> str:
        """Return the command that adds a network."""
        return f"add {self._names(version)[1]} "

    def footer(self) -> str:
        """Return the commands that put the new sets in the place of the old ones."""
        names = map(self._names, self._versions)
        return "".join(f"swap {new} {name}\ndestroy {new}\n" for name, new in names)

    def _names(self, version: int) -> tuple[str, str]:
        return f"{self._name}_ipv{version}", f"{self._name}_new{version}"


class NginxList(NetworkList):
    """A geo block for nginx: a variable that is 1 for these networks, else 0."""

    before = "    "
    shortest = 1  # a network of all addresses would be the default

    def __init__(self, name: str, comments: Sequence[str]) -> None:
        self._name, self._comments = name, comments

    def header(self) -> str:
        """Return the beginning of the block."""
        return f"{_comment(self._comments)}geo ${self._name} {{\n    default 0;\n"

    def tail(self, values: Sequence[Any]) -> str:
        """Return the value of the variable."""
        del values
        return " 1;\n"

    def footer(self) -> str:
        """Return the end of the block."""
        return "}\n"


def network_list(
    format_: str, *, name: str, fields: Sequence[str], versions: Sequence[int], comments: Sequence[str]
) -> NetworkList:
    """Return a list in a format.

    Args:
        format_: one of `FORMATS`.
        name: of the set or the variable.
        fields: of the networks.
        versions: of IP.
        comments: lines about the contents.

    """
    if format_ == "nft":
        return NftList(name, versions, comments)
    if format_ == "ipset":
        return IpsetList(name, versions, comments)
    if format_ == "nginx":
        return NginxList(name, comments)
    if format_ in WITH_FIELDS:
        return CsvList(fields) if format_ == "csv" else JsonList(fields)
    return RangeList() if format_ == "range" else NetworkList()


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


def _comment(lines: Sequence[str]) -> str:
    return "".join(f"# {safe(line)}\n" for line in lines)
