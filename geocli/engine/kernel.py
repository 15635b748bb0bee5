"""Load the kernel: the inner loops of large batches in C, called through ctypes.

Without it, batches take the scalar path. `kernel.c` documents the functions and structures. Python owns the memory, and
ctypes releases the interpreter's lock during each call.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from array import array
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARY = os.path.join(os.path.dirname(__file__), "kernel.shared")
"""Shared library, compiled by build_kernel.py. It is not named `.so`, as it is not a Python extension module."""
SOURCE = os.path.join(os.path.dirname(__file__), "kernel.c")
UNREAD, SINGLE, MISSING, ADDED, FIRST_NUMBER = range(5)
"""Numbers that are states, as in the kernel: not yet parsed, left to Python, to be added, added; the first answer."""
NEW, RENDERED, IS_SINGLE, NEEDS_REGISTRY = range(4)
"""States of answers, as in the kernel."""
TEXT_END, ADDRESS, NETWORK, TIME, FRAGMENT, LINKED = range(6)
"""Kinds of pieces: what the kernel writes after their text."""
COLUMN_END = "\5"
"""Ends each column of the text of a record; rendered text does not contain it."""
NO_RECIPE, FIRST_RECIPE = range(2)
"""The recipe of answers that are left to the scalar path, and the first of the others."""
UNREAD_KIND, NO_RECORD_KIND, FIRST_KIND = range(3)
"""Kinds of records: damaged ones, missing ones; all others are numbers of `Kind`."""
MAX_FREED_BYTES = 32 << 20
"""Amount of freed memory to reuse; a few blocks of 3 MB are in memory at a time."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
TABLE_BITS, NO_PREFIX = 20, 255
"""Address bits that index the lookup table; the prefix length that stands for none."""
_U8, _U32, _U64, _POINTER = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p


class Tree(ctypes.Structure):
    """The search tree of a mapped database."""

    _fields_ = (
        ("map", _POINTER),
        ("size_bytes", _U64),
        *((name, _U32) for name in ("node_count", "record_bits", "ip_version", "ipv4_root", "ipv4_depth")),
        ("nodes", _POINTER * 2),
    )


class Numbering(ctypes.Structure):
    """A hash table."""

    _fields_ = (("slots", _POINTER), ("mask", _U64), ("count", _U64), ("capacity", _U64))


class RecordNumbers(ctypes.Structure):
    """The records of a database, by number."""

    _fields_ = (("numbering", Numbering), ("by_number", _POINTER))


class Recipe(ctypes.Structure):
    """The texts of answers with one recipe."""

    _fields_ = (*((name, _U32) for name in ("line", "place", "group", "sources", "labelled", "state", "sharing")),)


class Engine(ctypes.Structure):
    """The databases and their answers, by number."""

    _fields_ = (
        ("secret", _U64 * 3),
        ("database_count", _U64),
        *((name, _POINTER) for name in ("trees", "numberings", "records")),
        ("scopes", _POINTER),
        ("embedded", _U64),
        *((name, _POINTER) for name in ("table", "states", "answers", "groups", "keys")),
        *((name, _POINTER) for name in ("recipes", "arena")),
        *((name, Numbering) for name in ("recipe_keys", "group_keys", "label_keys")),
        *((name, _U64) for name in ("recipe_count", "max_recipes")),
        *((name, _U64) for name in ("arena_used", "arena_bytes", "next_number", "max_numbers")),
    )


class Addresses(ctypes.Structure):
    """The addresses of a block, and the number of each answer.

    Attributes:
        memory: the objects that its pointers lead to, which live as long as it does.

    """

    memory: Sequence[object]
    _fields_ = (
        ("text", _POINTER),
        *((name, _U64) for name in ("text_bytes", "count", "room")),
        *((name, _POINTER) for name in ("starts", "ends", "stops", "copy_starts", "copy_ends", "padding")),
        *((name, _POINTER) for name in ("numbers", "prefixes", "leaves")),
        *((name, _U64) for name in ("unread", "singles", "unregistered")),
        ("delimiter", _U8),
    )


class Style(ctypes.Structure):
    """Values of the fields that the kernel fills in."""

    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("time", "no_network")),
        *((name, _U64) for name in ("time_bytes", "no_network_bytes")),
        *((name, _U32) for name in ("is_network_quoted", "is_label")),
    )


class Choice(ctypes.Structure):
    """Which answers are selected, and which rows were kept."""

    _fields_ = (
        *((name, _POINTER) for name in ("numbers", "positions", "row_starts", "origins")),
        ("is_kept", _U64),
    )


class Progress(ctypes.Structure):
    """Position in the output of a block."""

    _fields_ = (("position", _U64), ("single", _U64), ("labelled", _U64))


class Writer(ctypes.Structure):
    """Memory for a text; more than its room is only counted."""

    _fields_ = (("to", _POINTER), ("used", _U64), ("room", _U64))


class Row(ctypes.Structure):
    """An address and the number of its answer."""

    _fields_ = (("address", _POINTER), ("number", _U32), ("address_bytes", _U8), ("prefix", _U8))


class Source(ctypes.Structure):
    """A tree of a walk through several trees, and the classes of its records."""

    _fields_ = (
        *((name, _POINTER) for name in ("tree", "marks")),
        ("words", _U64),
        ("classes", _POINTER),
        ("stride", _U64),
        ("root", _U32),
    )


class Span(ctypes.Structure):
    """The first and the last address of a span, and the value of its combination of classes."""

    _fields_ = tuple((name, _U64) for name in ("first_high", "first_low", "last_high", "last_low", "value"))


class ListForm(ctypes.Structure):
    """The form of a list of networks."""

    _fields_ = (
        ("before", ctypes.c_char_p),
        *((name, _POINTER) for name in ("after", "ends")),
        ("before_bytes", _U64),
        *((name, _U32) for name in ("bits", "shortest", "is_range")),
    )


class Joint(ctypes.Structure):
    """Position of a walk through several trees."""

    _fields_ = (
        ("sources", _POINTER),
        ("source_count", _U64),
        ("nodes", _POINTER),
        ("values", _POINTER),
        *((name, _U64) for name in ("next_high", "next_low", "last_high", "last_low", "combination", "leaves")),
        ("run", Span),
        *((name, _U32) for name in ("skipped", "bits", "depth", "is_apart", "has_run", "is_done")),
    )


_FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    "split": (ctypes.c_int64, (_POINTER, _U8)),
    "cells": (ctypes.c_int64, (_POINTER, _POINTER, _U64, _U64, _U8)),
    "open": (ctypes.c_int32, (_POINTER,)),
    "decode": (
        ctypes.c_int64,
        (_POINTER, _POINTER, _U64, ctypes.c_char_p, _U64, _POINTER, _POINTER, _U64, _POINTER, _POINTER, _U64),
    ),
    "mark": (ctypes.c_int64, (_POINTER, _POINTER, _U64)),
    "offsets": (None, (_POINTER, _U64, _POINTER)),
    "outline": (None, (_POINTER, _POINTER, _U64, ctypes.c_char_p, _U64, _U64, _POINTER, _POINTER)),
    "list": (ctypes.c_int64, (_POINTER, _U64, _POINTER, _POINTER, _POINTER, _U64)),
    "walk": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER, _U64)),
    "find": (ctypes.c_int64, (_POINTER, _POINTER)),
    "pick": (ctypes.c_int64, (_POINTER, _POINTER, _U8, _POINTER)),
    "add": (None, (_POINTER, _POINTER)),
    "store": (ctypes.c_int32, (_POINTER, ctypes.c_char_p, _U64, _U64, _U32, *(_POINTER,) * 3)),
    "combine": (ctypes.c_int64, (_POINTER, _U64, _POINTER)),
    "settle": (None, (_POINTER, _U64)),
    "assemble": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, _POINTER, _POINTER, _POINTER, _U64)),
    "count": (None, (_POINTER, _U64, _U64, _POINTER)),
    "select": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER)),
    "scan": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER)),
    "trim": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER)),
    "remember": (None, (_POINTER, _POINTER, _U32, _U32, _U32, _U8)),
    "collect": (ctypes.c_int64, (_POINTER, _POINTER, _POINTER, _POINTER, _U64)),
    "sort": (None, (_POINTER, _POINTER, _POINTER, _U64, _POINTER, _U64, _U64)),
    "payload": (ctypes.c_int64, (_POINTER, _POINTER, _U64, _U64, _POINTER, _POINTER)),
}


class Kernel:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, f"geocli_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        """Declare the functions for type checkers; those that exist are attributes."""
        raise AttributeError(name)


@cache
def load() -> Kernel | None:
    """Return the kernel; None if it was not built, or from another source."""
    try:
        library = ctypes.CDLL(LIBRARY)
        if not _is_current(library):
            return None
        loaded = Kernel(library)
    except (OSError, AttributeError):
        return None
    _reuse_freed_memory()
    return loaded


def problem() -> str:
    """Return why there is no kernel."""
    return "compiled from another kernel.c" if os.path.exists(LIBRARY) else "missing"


def _is_current(library: ctypes.CDLL) -> bool:
    """Return whether the version of a library is the checksum of the source; True if there is no source."""
    library.geocli_version.restype = _U32
    try:
        with open(SOURCE, "rb") as file:
            return bool(library.geocli_version() == crc32(file.read()))
    except FileNotFoundError:
        return True


def _reuse_freed_memory() -> None:
    """Let glibc reuse the memory of blocks, instead of returning it to the system, which would zero each page again."""
    with suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, MAX_FREED_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAX_FREED_BYTES)


def kernel() -> Kernel:
    """Return the kernel; only where `load` has returned it."""
    loaded = load()
    assert loaded is not None  # noqa: S101 (for type checkers)
    return loaded


def allocated(size_bytes: int) -> mmap.mmap:
    """Return zeroed memory, whose pages are allocated when they are first written.

    Huge pages, where available, reduce TLB misses, since most of this memory is read at random.
    """
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a Linux kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def numbering(capacity: int) -> tuple[Numbering, mmap.mmap]:
    """Return an empty hash table, and its memory, which the caller keeps alive."""
    slots = 1 << (4 * capacity // 3 - 1).bit_length()  # at most three quarters are used
    memory = allocated(16 * slots)
    return Numbering(slots=address_of(memory), mask=slots - 1, capacity=capacity), memory


def secret() -> tuple[int, int, int]:
    """Return random numbers for hashes of the kernel, which a database cannot predict."""
    mask, *factors = struct.unpack("3Q", os.urandom(24))
    return mask, factors[0] | 1, factors[1] | 1


def address_of(memory: mmap.mmap | array[int] | bytearray | memoryview | ctypes.Structure | ctypes.Array[Any]) -> int:
    """Return the address of writable memory, 0 if it is empty. The caller must keep it alive, and not resize it."""
    if isinstance(memory, array):
        return memory.buffer_info()[0]
    if isinstance(memory, ctypes.Structure | ctypes.Array):
        return ctypes.addressof(memory)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)) if memory else 0


def address_of_bytes(text: bytes) -> int:
    """Return the address of bytes. The caller must keep them alive; the kernel must not change them."""
    return ctypes.cast(ctypes.c_char_p(text), _POINTER).value or 0
