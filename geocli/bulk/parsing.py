"""Texts of addresses to numbers, for a whole block at once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET6, inet_ntoa, inet_ntop, inet_pton
from typing import TYPE_CHECKING

import numpy as np

from geocli import addresses
from geocli.errors import AddressError
from geocli.sanitize import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

DOT, NEWLINE = b".\n"
_DIGITS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF, 0], np.uint32)
"""Which of the four bytes before a dot or an end are the number, by its length."""
_LEAST = np.array([1 << 31, 0, 0x0100, 0x010000, 1 << 31], np.uint32)
"""The least number of a length that has no leading zero, a digit a byte."""
_MOST = 0x020505
"""255, a digit a byte."""


_SLASHES = [b"/%d" % length for length in range(33)]


class Parsed:
    """Texts as numbers: IPv4 addresses in dotted decimal (RFC 6943, 3.1.1) all together, then all others."""

    def __init__(self, texts: Sequence[bytes], joined: bytes = b"") -> None:
        """Read texts; `joined` are the same, each with a newline behind it, if that is at hand."""
        if not joined:
            joined = b"\n".join([*texts, b""])
            if joined.count(b"\n") > len(texts):
                joined = b"".join([b"%b\n" % text.replace(b"\n", b" ") for text in texts])
        self.texts = list(texts)
        """Addresses in canonical text; what is none as it was."""
        self.numbers, self.is_ipv4 = numbers(joined)
        """The IPv4 addresses as uint32, 0 where there is none; and where there are."""
        self.is_ipv6 = np.zeros(len(texts), np.bool_)
        self.halves = np.zeros((0, 2), np.uint64)
        """The IPv6 addresses alone, high and low half."""
        others = np.flatnonzero(~self.is_ipv4)
        if len(others):
            self._read(others)

    def _read(self, others: NDArray[np.intp]) -> None:
        """Read all that is no plain IPv4 address, each text once."""
        texts = [self.texts[at] for at in others.tolist()]
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        which = np.fromiter(map(distinct.__getitem__, texts), np.intp, len(texts))
        known = list(distinct)
        octets = np.frombuffer(b"".join(map(_packed, known)), np.uint8).reshape(-1, 16)
        halves = octets.view(">u8").astype(np.uint64)
        is_ipv6, ipv4 = halves[:, 0] != 0, np.full(len(known), -1)
        for at in np.flatnonzero(is_ipv6 & ~_are_canonical(known, octets)).tolist():
            known[at] = inet_ntop(AF_INET6, octets[at].tobytes()).encode()
        for at in np.flatnonzero(~is_ipv6).tolist():  # what begins with zeros may hold an IPv4 address
            address, known[at] = _address(known[at])
            if isinstance(address, IPv6Address):
                is_ipv6[at], halves[at] = True, divmod(int(address), 1 << 64)
            elif address is not None:
                ipv4[at] = int(address)
        for at, text in zip(others.tolist(), map(known.__getitem__, which.tolist()), strict=True):
            self.texts[at] = text
        self.is_ipv6[others], self.is_ipv4[others] = is_ipv6[which], ipv4[which] >= 0
        self.numbers[others] = np.maximum(ipv4, 0)[which]
        self.halves = halves[which[is_ipv6[which]]]

    def families(self) -> Iterator[tuple[Any, NDArray[np.unsignedinteger], Sequence[bytes]]]:
        """Return the addresses of each family: where they are, as `Tree.walk` takes them, and as texts."""
        if self.is_ipv4.all():
            yield slice(None), self.numbers, self.texts
            return
        for places, numbers in ((self.is_ipv4, self.numbers[self.is_ipv4]), (self.is_ipv6, self.halves)):
            at = np.flatnonzero(places)
            if len(at):
                yield at, numbers, [self.texts[number] for number in at.tolist()]

    def networks(self, lengths: NDArray[np.int32]) -> list[bytes]:
        """Return the prefixes that the addresses are in; nothing where there is no address.

        Args:
            lengths: of the prefixes, in bits, for each text; longer ones than an address has are cut to that.

        """
        found = np.full(len(self.texts), b"", object)
        ipv4, ipv6 = np.flatnonzero(self.is_ipv4), np.flatnonzero(self.is_ipv6)
        widths = np.minimum(lengths[ipv4], 32)
        masked = self.numbers[ipv4] >> (32 - widths).astype(np.uint64) << (32 - widths).astype(np.uint64)
        octets = masked.astype(">u4").tobytes()
        packed = [octets[at : at + 4] for at in range(0, len(octets), 4)]
        found[ipv4] = list(map(_network4, packed, widths.tolist()))
        found[ipv6] = list(map(_network6, *self.halves.T.tolist(), np.minimum(lengths[ipv6], 128).tolist()))
        return list(found)


def _network4(packed: bytes, length: int) -> bytes:
    return inet_ntoa(packed).encode() + _SLASHES[length]


def _network6(high: int, low: int, length: int) -> bytes:
    return f"{IPv6Address((high << 64 | low) >> (128 - length) << (128 - length))}/{length}".encode()


def _packed(text: bytes) -> bytes:
    """Return the octets of an IPv6 address; zeros for what is none."""
    try:
        return inet_pton(AF_INET6, text.decode("latin-1"))
    except (ValueError, OSError):
        return bytes(16)


def _are_canonical(texts: Sequence[bytes], octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which texts of IPv6 addresses are certainly canonical (RFC 5952).

    These have eight numbers, none of them 0, in lower case and without leading zeros; then they have no more digits
    than they need.
    """
    groups = octets.view(">u2")
    digits = sum((groups > most).sum(axis=1) for most in (0, 0xF, 0xFF, 0xFFF))
    are_plain = np.array([text.islower() and text.count(b":") == 7 for text in texts])
    sizes = np.fromiter(map(len, texts), np.intp, len(texts))
    return np.asarray(are_plain & (groups != 0).all(axis=1) & (sizes == digits + 7))


def _address(text: bytes) -> tuple[IPv4Address | IPv6Address | None, bytes]:
    """Return an address and its canonical text; None and the same text for what is none."""
    try:
        address = addresses.parse(decoded(text))
    except AddressError:
        return None, text
    return address, str(address).encode()


def numbers(data: bytes) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Read the lines of a block that are plain IPv4 addresses: four numbers up to 255 without leading zeros.

    Args:
        data: whole lines, each with a newline behind it.

    Returns:
        The addresses, 0 where there is none; and for each line whether it is one.

    """
    octets = np.frombuffer(b"   \n%b" % data, np.uint8)
    marks = np.flatnonzero((octets == NEWLINE) | (octets == DOT))
    ends = np.flatnonzero(octets[marks] == NEWLINE)
    is_plain = np.diff(ends) == 4
    if is_plain.all():
        return _decimal(octets, marks[:-1].reshape(-1, 4), marks[1:].reshape(-1, 4))
    last = ends[1:][is_plain, None]
    found = np.zeros(len(is_plain), np.uint32)
    found[is_plain], is_plain[is_plain] = _decimal(octets, marks[last + range(-4, 0)], marks[last + range(-3, 1)])
    return found, is_plain


def _decimal(
    octets: NDArray[np.uint8], before: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the addresses that some offsets divide into numbers, and which of them are addresses.

    Four bytes are looked at together, as one big-endian word. Of a byte from 0 to 9, the sum with 0x76 has no
    highest bit.
    """
    lengths = np.minimum(ends - before - 1, 4)
    words = np.lib.stride_tricks.as_strided(octets[:4].view(">u4"), (len(octets) - 3,), (1,))
    digits = (words[ends - 4].astype(np.uint32) ^ 0x30303030) & _DIGITS[lengths]
    is_decimal = ((digits + np.uint32(0x76767676)) | digits) & 0x80808080 == 0
    values = (digits >> 16) * 100 + (digits >> 8 & 0xFF) * 10 + (digits & 0xFF)
    first, second, third, fourth = (is_decimal & (digits >= _LEAST[lengths]) & (digits <= _MOST)).T
    is_right = first & second & third & fourth
    return (values[:, 0] << 24 | values[:, 1] << 16 | values[:, 2] << 8 | values[:, 3]) * is_right, is_right
