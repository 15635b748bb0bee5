"""Summaries of a journal: lists of the addresses in a stretch of it, so that a search can skip the stretch.

Each lookup appends a small frame, most of whose bytes are places. The append that fills a stretch adds its summary, a
frame without rows:

    {"at":"","generation":"","places":[{"status":"unresolved"}],"rows":[],"from":524288,
     "words":",81.2.69.160,2.125.160.216,"}

`words` are all words from the offset `from` on that look like addresses. They are separated by commas, because a search
looks for addresses between quotes or spaces. Stretches without a summary, as batches and earlier releases write them,
are searched.
"""

from __future__ import annotations

import os
import re

from geocli.storage.dirty_check import STRETCH_BYTES
from geocli.storage.frames import encode, payload_at

READ_BYTES = 1 << 16
"""Bytes after a stretch within which its summary ends."""
_ADDRESS = rb"[0-9a-f]*[.:][0-9a-f.:]*"


def summary(descriptor: int, size_bytes: int, data: bytes) -> bytes:
    """Return the summary of the stretch that frames fill, to be appended to a journal after them.

    It is empty if they fill none, or if `is_absent` would not find it: that looks after the frame in which the stretch
    ends. `size_bytes` is the size of the journal without the frames, `data`.
    """
    end = (size_bytes + len(data)) // STRETCH_BYTES * STRETCH_BYTES
    is_in_last_frame = end > size_bytes + data.rfind(b"\n", 0, -1) + 1
    if not is_in_last_frame or len(data) > READ_BYTES:
        return b""
    start = end - STRETCH_BYTES
    begin = max(start - 1, 0)
    stretch = os.pread(descriptor, size_bytes - begin, begin) + data
    words = dict.fromkeys(re.findall(rb'[" ](%b)(?=[" ])' % _ADDRESS, stretch))
    frame = encode(b'%b%b,"}' % (_head(start), b",".join(words)))
    return frame if len(data) + len(frame) <= READ_BYTES else b""


def is_absent(address: bytes, descriptor: int, start: int) -> bool:
    """Return whether a sound summary shows that no such address begins in the stretch at an offset."""
    data = os.pread(descriptor, READ_BYTES, start + STRETCH_BYTES - 1)
    payload = payload_at(data, data.find(b"\n") + 1)
    return (
        payload is not None
        and payload.startswith(_head(start))
        and b",%b," % address not in payload
        and re.fullmatch(_ADDRESS, address) is not None
    )


def _head(start: int) -> bytes:
    head = b'{"at":"","generation":"","places":[{"status":"unresolved"}],"rows":[],"from":%d,"words":",'
    return head % start
