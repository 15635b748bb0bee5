"""Look up networks: the answers of databases for all addresses of a range, and what holds for all of it."""

from __future__ import annotations

from ipaddress import IPv6Address
from itertools import groupby
from typing import TYPE_CHECKING

from geocli import address_ranges
from geocli.address_ranges import AddressRange, Part
from geocli.addresses import embedded, scope
from geocli.engine.kernel_walk import walker
from geocli.engine.networks import entry_of
from geocli.engine.search_tree import EMBEDDED
from geocli.errors import AddressError, GeocliError, ResolveError
from geocli.models import IANA, Entry, Place
from geocli.resolvers.mmdb import MmdbResolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from geocli.api_arguments import Mode
    from geocli.cache import GeoCache
    from geocli.engine.networks import Numbers, Walker
    from geocli.models import Answer

    PartAnswer: TypeAlias = tuple[Answer | None, str | None]
    """The answer of the databases for a part, None if they know nothing, and the scope of special addresses."""

MAX_REMEMBERED = 50_000
"""Maximum number of answers that are remembered, which take about 50 MB."""
NO_DATABASE = "networks are answered from databases; get one with: geocli db update dbip-country-lite"
NOT_CACHED = "networks are not cached"
LOW_BITS = 0xFFFFFFFF
"""Those of an IPv4 address."""
TEREDO = (EMBEDDED,)
"""The key of ranges of Teredo addresses."""


def with_networks(cache: GeoCache, entries: Sequence[Entry], mode: Mode) -> list[Entry | AddressRange]:
    """Return entries, and a network or range instead of each entry that is invalid because it is one."""
    items: list[Entry | AddressRange] = []
    for entry in entries:
        if entry.status != "invalid":
            items.append(entry)
            continue
        try:
            parsed = address_ranges.parse(entry.ip)
        except AddressError as error:
            items.append(entry.replace(error=error.reason))
        else:
            items.append(parsed if isinstance(parsed, AddressRange) else next(cache.lookup_batch([parsed], mode=mode)))
    return items


class HostBitsError(GeocliError):
    """The address before a prefix length is not the first one of the network, which is looked up nevertheless."""

    exit_status = 0

    def __init__(self, text: str, network: str) -> None:
        super().__init__(f"{text}: has host bits; looked up as {network}")
        self.path = "host bits"
        """Only the first such network is reported."""


class NoDatabaseError(ResolveError):
    """No network can be looked up without a database."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}: {NO_DATABASE}")
        self.path = NO_DATABASE
        """Only the first network is reported."""


class NetworkLookup:
    """Looks up addresses and networks. For one thread at a time."""

    def __init__(self, cache: GeoCache) -> None:
        """Read nothing before the first network.

        Args:
            cache: answers addresses; its databases answer networks.

        """
        self._cache = cache
        self._walker: Walker | None = None
        self._remembered: dict[Numbers, PartAnswer] = {}

    def with_networks(self, entries: Sequence[Entry], mode: Mode) -> list[Entry]:
        """Return entries in which the invalid ones of networks and ranges are replaced, as `mode` allows."""
        items = with_networks(self._cache, entries, mode)
        return [self.entry(item, mode) if isinstance(item, AddressRange) else item for item in items]

    def report_host_bits(self, network: AddressRange) -> None:
        """Report a network that is not written with its first address."""
        if network.as_written:
            self._cache.on_problem(HostBitsError(network.as_written, network.text))

    def entry(self, network: AddressRange, mode: Mode) -> Entry:
        """Return the fields that hold for all addresses of a network or range."""
        self.report_host_bits(network)
        unavailable = self.prepare(mode)
        if unavailable == NO_DATABASE:
            self._cache.on_problem(NoDatabaseError(network.text))
        values, scope_, sources = self._common(()) if unavailable else self._common(self.parts(network))
        return Entry(
            ip=network.text,
            status="special" if scope_ else "resolved" if values else "unresolved",
            scope=scope_,
            place=_place(values),
            source=(sources or (IANA if scope_ else None)) if values or scope_ else None,
            resolved_at=self._cache.now(),
            error=unavailable,
        )

    def _common(self, parts: Iterable[Part]) -> tuple[dict[str, Any], str | None, str]:
        """Return what all parts have in common, fields and traits by name, and the scope; and the sources."""
        values: dict[str, Any] | None = None
        scopes, sources = set[str | None](), dict[str, None]()
        for _, neighbours in groupby(parts, key=lambda part: part.key):
            answer, scope_ = self.answer(next(neighbours))
            scopes.add(scope_)
            sources |= dict.fromkeys(answer.source.split("+") if answer else ())
            own = _values(answer)
            common = own if values is None else values
            values = {name: value for name, value in common.items() if own.get(name) == value}
            if not values and (len(scopes) > 1 or scope_ is None):
                break
        return values or {}, scopes.pop() if len(scopes) == 1 else None, "+".join(sources)

    def prepare(self, mode: Mode) -> str | None:
        """Open the databases, and return why no network can be looked up, None if one can."""
        if mode == "cached-only":
            return NOT_CACHED
        self._cache.sources(is_labeled=mode != "no-cache")
        resolvers = [each for each in self._cache.chain.resolvers if isinstance(each, MmdbResolver)]
        databases = [database for resolver in resolvers for database in resolver.databases(self._cache.on_problem)]
        if not databases:
            return NO_DATABASE
        if self._walker is None or [*self._walker.databases] != databases:
            self._walker = walker(databases)
            self._remembered.clear()
        return None

    def parts(self, network: AddressRange) -> Iterator[Part]:
        """Return the ranges of a network that have one answer each, in their order; see `prepare`.

        Raises:
            DatabaseError: a search tree is damaged.

        """
        assert self._walker is not None  # noqa: S101 (for type checkers)
        for first, last, numbers in self._walker.spans(network.version, network.first, network.last):
            inner = embedded(IPv6Address(first)) if numbers[0] == EMBEDDED else None
            if inner is None or inner.is_obscured:
                # In Teredo addresses, neighbours have unrelated IPv4 addresses: there is no answer for a range.
                yield Part(network.version, first, last, numbers if inner is None else TEREDO)
            else:
                yield from self._embedding(first, last, 96 - inner.first_bit)

    def _embedding(self, first: int, last: int, low_bits: int) -> Iterator[Part]:
        """Divide a range by the networks of the IPv4 addresses in it, which are followed by some bits."""
        assert self._walker is not None  # noqa: S101 (for type checkers)
        base = first >> (low_bits + 32) << (low_bits + 32)
        for span in self._walker.spans(4, first >> low_bits & LOW_BITS, last >> low_bits & LOW_BITS):
            begin = max(first, base | span.first << low_bits)
            end = min(last, base | span.last << low_bits | (1 << low_bits) - 1)
            yield Part(6, begin, end, (EMBEDDED, low_bits, *span.numbers))

    def answer(self, part: Part) -> PartAnswer:
        """Return the answer for a part."""
        if (answer := self._remembered.get(part.key)) is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            answer = self._remembered[part.key] = self._resolve(part)
        return answer

    def _resolve(self, part: Part) -> PartAnswer:
        if part.key == TEREDO:
            return None, None
        address = address_ranges.address(part.version, part.first)
        answer = self._cache.chain.resolve(address, self._cache.on_problem, only_databases=True)
        if answer is not None and "embedded_ipv4" in (answer.place.traits or {}):
            traits = {key: value for key, value in (answer.place.traits or {}).items() if key != "embedded_ipv4"}
            answer = answer.replace(place=answer.place.replace(traits=traits or None))
        return None if answer is None or answer.is_empty else answer, scope(address)

    def part_entry(self, part: Part, text: str) -> Entry:
        """Return the entry of a part, whose network or range is `text`."""
        return entry_of(*self.answer(part), text).replace(resolved_at=self._cache.now())


def _place(values: Mapping[str, Any]) -> Place:
    """Return the place of fields, and of traits, whose names have a prefix."""
    traits = {name.removeprefix("traits."): value for name, value in values.items() if "." in name}
    return Place(**{name: value for name, value in values.items() if "." not in name}, traits=traits or None)


def _values(answer: Answer | None) -> dict[str, Any]:
    """Return the known fields and traits of an answer by name."""
    fields = vars(answer.place) if answer else {}
    traits = {f"traits.{name}": value for name, value in (fields.get("traits") or {}).items()}
    return {name: value for name, value in fields.items() if value is not None and name != "traits"} | traits
