"""Reading a journal: all sound frames, whatever lies between them."""

from __future__ import annotations

from geocli.immutable import Value
from geocli.storage.frames import HEADER_BYTES, MAGIC, MAX_BYTES, Frame, encode, payload_at, unpack_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

REPAIR_BYTES = 4096
"""Damage up to this size is searched for the one flipped bit that explains it."""
MOST_REPAIRS = 64
"""A journal that is damaged in more places than this is quarantined rather than searched."""


class Damage(Value):
    """Bytes of a journal that are no frame."""

    offset_bytes: int
    """Where they begin."""
    data: bytes
    """What they are."""
    is_last: bool = False
    """Whether the journal ends there."""


def scan(stream: BinaryIO) -> Iterator[Frame | Damage]:
    """Read a journal to its end, in bounded memory: what is sound as frames, what is not as damage.

    After damage the reader looks for the next sound frame. One flipped bit in a small frame is repaired.
    Empty lines and zeros (what a power cut leaves of a block) are skipped; so is a last frame that is cut
    short, because nobody was told that it was kept.
    """
    return (found for _, found in scan_from(stream, 0))


def scan_from(stream: BinaryIO, start: int) -> Iterator[tuple[int, Frame | Damage]]:
    """Read a journal from an offset at which a region begins, likewise, with the offset at which the next one does."""
    stream.seek(start)
    fix, known = _Repairs(), set[bytes]()
    for begin, end, found in regions(stream):
        if isinstance(found, Damage):
            for one in _salvaged(found.replace(offset_bytes=start + begin), fix):
                yield start + end, one
        else:
            yield start + end, unpack_or_none(found, known) or Damage(offset_bytes=start + begin, data=encode(found))


class _Window:
    """The part of a file that the reader looks at: a whole frame from `position` on, or all to the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.data, self.position, self.offset_bytes = stream, b"", 0, 0

    def fill(self) -> bool:
        """Read on if needed; False at the end."""
        if len(self.data) - self.position < MAX_BYTES + HEADER_BYTES + 1:
            self.data = self.data[self.position :] + self.stream.read(4 * MAX_BYTES)
            self.position = 0
        return self.position < len(self.data)

    def skip(self, count: int) -> None:
        """Step over bytes that are there."""
        self.position += count
        self.offset_bytes += count

    def take_bad(self) -> bytes:
        """Return all up to where the next frame could begin."""
        found = self.data.find(MAGIC, self.position + 1)
        end = found if found >= 0 else len(self.data) - len(MAGIC) + 1
        bad = self.data[self.position : max(end, self.position + 1)]
        self.skip(len(bad))
        return bad


def regions(stream: BinaryIO) -> Iterator[tuple[int, int, bytes | Damage]]:
    """Divide a journal into the payloads of frames with the right digest, and the damage between them.

    Yields:
        Where a region begins, where the next one does, and what it is. Offsets count from where the stream stands.

    """
    window, bad = _Window(stream), bytearray()
    while window.fill():
        payload = payload_at(window.data, window.position)
        if payload is None:
            bad += window.take_bad()
        start = window.offset_bytes
        if bad and (payload is not None or len(bad) > MAX_BYTES):
            yield start - len(bad), start, Damage(offset_bytes=start - len(bad), data=bytes(bad))
            bad.clear()
        if payload is not None:
            window.skip(HEADER_BYTES + len(payload))
            window.skip(window.data[window.position : window.position + 1] == b"\n")
            yield start, window.offset_bytes, payload
    if bad:
        start = window.offset_bytes - len(bad)
        yield start, window.offset_bytes, Damage(offset_bytes=start, data=bytes(bad), is_last=True)


def _salvaged(damage: Damage, fix: _Repairs) -> Iterator[Frame | Damage]:
    """Return the frame that one flipped bit made of damage, else what is not empty, line by line.

    A last line that was cut short is left out, unless it is a whole frame but for one bit.
    """
    if frame := fix(damage.data):
        yield frame
        return
    lines, whole = damage.data.split(b"\n"), damage.data.strip(b"\n")
    tail, offset_bytes = lines[-1], damage.offset_bytes
    for line in lines:
        is_torn = damage.is_last and line is tail and MAGIC.startswith(tail[: len(MAGIC)])
        frame = fix(line) if whole != line else None
        if frame or (line.strip(b"\0") and not is_torn):
            yield frame or Damage(offset_bytes=offset_bytes, data=line)
        offset_bytes += len(line) + 1


class _Repairs:
    """Repairs, as many as one journal may take."""

    def __init__(self) -> None:
        self.left = MOST_REPAIRS

    def __call__(self, data: bytes) -> Frame | None:
        if not self.left or not HEADER_BYTES < len(data) <= REPAIR_BYTES:
            return None
        self.left -= 1
        return repair(data)


def repair(data: bytes) -> Frame | None:
    """Find the one bit of a small damaged frame whose flip makes it sound, and return the frame.

    A digest of 64 bits takes a wrong repair for right once in 2^49 tries of this size.
    """
    if not HEADER_BYTES < len(data) <= REPAIR_BYTES:
        return None
    trial = bytearray(data)
    is_length_sound = data[3:11] in {b"%08x" % (len(data) - HEADER_BYTES - end) for end in (0, 1)}
    for number in range((len(trial) if is_length_sound else HEADER_BYTES) * 8):
        trial[number >> 3] ^= 1 << (number & 7)
        payload = payload_at(bytes(trial), 0)
        if payload is not None and HEADER_BYTES + len(payload) >= len(trial) - 1:
            return unpack_or_none(payload)
        trial[number >> 3] ^= 1 << (number & 7)
    return None
