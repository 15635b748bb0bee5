"""IPv4 addresses in dotted decimal (RFC 6943, 3.1.1), read for a whole block of lines at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOT = ord(".")
_DIGITS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF, 0], np.uint32)
"""Which of the four bytes before a dot or an end are the number, by its length."""
_LEAST = np.array([1 << 31, 0, 0x0100, 0x010000, 1 << 31], np.uint32)
"""The least number of a length that has no leading zero, a digit a byte."""
_MOST = 0x020505
"""255, a digit a byte."""


def numbers(data: bytes, end: bytes) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Read the lines of a block that are plain IPv4 addresses: four numbers up to 255 without leading zeros.

    Args:
        data: whole lines.
        end: the one byte that each of them ends with.

    Returns:
        The addresses, 0 where there is none; and for each line whether it is one.

    """
    octets = np.frombuffer(b"\0\0\0%b%b" % (end, data), np.uint8)
    marks = np.flatnonzero((octets == ord(end)) | (octets == DOT))
    ends = np.flatnonzero(octets[marks] == ord(end))
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
