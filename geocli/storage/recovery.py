"""Read a journal: all sound frames, and the damage between them."""

from __future__ import annotations

from geocli.immutable import Value
from geocli.storage.frames import HEADER_BYTES, MAGIC, MAX_BYTES, Frame, encode, payload_at, unpack_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

REPAIR_BYTES = 4096
"""Maximum size of damage that is searched for one flipped bit."""
MAX_REPAIRS = 64
"""Damaged places that are searched; further ones are quarantined."""


class Damage(Value):
    """Bytes of a journal that are not a frame."""

    offset_bytes: int
    data: bytes
    is_last: bool = False
    """Whether they are at the end of the journal."""


def scan(stream: BinaryIO, start: int = 0) -> Iterator[tuple[int, Frame | Damage]]:
    """Read a journal to its end, in bounded memory: its frames, and the damage between them.

    After damage the reader searches for the next sound frame. One flipped bit in a small frame is repaired. Empty lines
    are skipped, and so are zeros, which a power cut may leave, and an incomplete last frame, which was never
    acknowledged.

    Each item comes with the offset of the next region, from which a later call may continue.
    """
    stream.seek(start)
    repairs, checked = _Repairs(), set[bytes]()
    for begin, end, region in regions(stream):
        if isinstance(region, Damage):
            for item in _salvaged(region.replace(offset_bytes=start + begin), repairs):
                yield start + end, item
        else:
            frame = unpack_or_none(region, checked)
            yield start + end, frame or Damage(offset_bytes=start + begin, data=encode(region))


class _Window:
    """A part of a file that contains a whole frame from `position` on, or all bytes to the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.data, self.position, self.offset_bytes = stream, b"", 0, 0

    def fill(self) -> bool:
        """Read more bytes if needed; return False at the end."""
        if len(self.data) - self.position < MAX_BYTES + HEADER_BYTES + 1:
            self.data = self.data[self.position :] + self.stream.read(4 * MAX_BYTES)
            self.position = 0
        return self.position < len(self.data)

    def skip(self, count: int) -> None:
        """Skip bytes of the window."""
        self.position += count
        self.offset_bytes += count

    def take_bad(self) -> bytes:
        """Skip and return the bytes up to the next possible frame."""
        next_magic = self.data.find(MAGIC, self.position + 1)
        end = next_magic if next_magic >= 0 else len(self.data) - len(MAGIC) + 1
        bad = self.data[self.position : max(end, self.position + 1)]
        self.skip(len(bad))
        return bad


def regions(stream: BinaryIO) -> Iterator[tuple[int, int, bytes | Damage]]:
    """Divide a journal into the payloads of frames with a correct digest, and the damage between them.

    Yields:
        The offsets of a region and of the next one, relative to the position of the stream, and the region.

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


def _salvaged(damage: Damage, repairs: _Repairs) -> Iterator[Frame | Damage]:
    """Return the frame if one flipped bit explains the damage, else its lines that are not empty.

    An incomplete last line is left out, unless it is a whole frame but for one bit.
    """
    if frame := repairs.repair(damage.data):
        yield frame
        return
    lines, whole = damage.data.split(b"\n"), damage.data.strip(b"\n")
    tail, offset_bytes = lines[-1], damage.offset_bytes
    for line in lines:
        is_torn = damage.is_last and line is tail and MAGIC.startswith(tail[: len(MAGIC)])
        frame = repairs.repair(line) if whole != line else None
        if frame or (line.strip(b"\0") and not is_torn):
            yield frame or Damage(offset_bytes=offset_bytes, data=line)
        offset_bytes += len(line) + 1


class _Repairs:
    """Repairs up to `MAX_REPAIRS` frames of one journal."""

    def __init__(self) -> None:
        self.left = MAX_REPAIRS

    def repair(self, data: bytes) -> Frame | None:
        """Find the one bit of a small damaged frame whose flip makes it sound, and return the frame.

        With a digest of 64 bits, one in 2^49 repairs of this size is wrong.
        """
        if not self.left or not HEADER_BYTES < len(data) <= REPAIR_BYTES:
            return None
        self.left -= 1
        trial = bytearray(data)
        is_length_sound = data[3:11] in {b"%08x" % (len(data) - HEADER_BYTES - end) for end in (0, 1)}
        for number in range((len(trial) if is_length_sound else HEADER_BYTES) * 8):
            trial[number >> 3] ^= 1 << (number & 7)
            payload = payload_at(bytes(trial), 0)
            if payload is not None and HEADER_BYTES + len(payload) >= len(trial) - 1:
                return unpack_or_none(payload)
            trial[number >> 3] ^= 1 << (number & 7)
        return None
