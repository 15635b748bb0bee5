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
from types import SimpleNamespace
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
_TYPES: dict[str, Any] = {
    "void": None,
    "u8": ctypes.c_uint8,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "void*": ctypes.c_void_p,
    "char*": ctypes.c_char_p,
    "u64[3]": ctypes.c_uint64 * 3,
    "void*[2]": ctypes.c_void_p * 2,
}


def declared(*declarations: str) -> list[tuple[str, Any]]:
    """Return the fields of a structure by declarations: the name of a type, and those of fields of this type."""
    rows = (declaration.split() for declaration in declarations)
    return [(name, _TYPES[kind]) for kind, *names in rows for name in names]


class Tree(ctypes.Structure):
    """The search tree of a mapped database."""

    _fields_ = declared(
        "void* map",
        "u64 size_bytes",
        "u32 node_count record_bits ip_version ipv4_root",
        "void*[2] nodes",
        "u64[3] secret",
    )


class Numbering(ctypes.Structure):
    """A hash table.

    Attributes:
        memory: that of its slots, which the caller keeps alive.

    """

    memory: mmap.mmap
    _fields_ = declared("void* slots", "u64 mask count capacity", "u64[3] secret")


class RecordNumbers(ctypes.Structure):
    """The records of a database, by number."""

    _fields_ = (("numbering", Numbering), *declared("void* by_number"))


class Recipe(ctypes.Structure):
    """The texts of answers with one recipe."""

    _fields_ = declared("u32 line place group sources labelled state sharing")


class Engine(ctypes.Structure):
    """The databases and their answers, by number."""

    _fields_ = (
        *declared("u64 database_count", "void* trees numberings records scopes", "u64 embedded"),
        *declared("void* table states answers groups keys recipes arena"),
        *((name, Numbering) for name in ("recipe_keys", "group_keys", "label_keys")),
        *declared("u64 recipe_count max_recipes arena_used arena_bytes next_number max_numbers"),
    )


class Addresses(ctypes.Structure):
    """The addresses of a block, and the number of each answer.

    Attributes:
        memory: the objects that its pointers lead to, which live as long as it does.

    """

    memory: Sequence[object]
    _fields_ = declared(
        "char* text",
        "u64 text_bytes count room",
        "void* starts ends stops copy_starts copy_ends skip_starts skip_ends row_starts padding",
        "void* written_starts written_stops numbers prefixes leaves",
        "u8 delimiter",
    )


class Style(ctypes.Structure):
    """Values of the fields that the kernel fills in."""

    _fields_ = declared("char* time no_network", "u64 time_bytes no_network_bytes", "u32 is_network_quoted is_label")


class Progress(ctypes.Structure):
    """Position in the output of a block."""

    _fields_ = declared("u64 position single labelled")


class Writer(ctypes.Structure):
    """Memory for a text; more than its room is only counted."""

    _fields_ = declared("void* to", "u64 used room")


class Row(ctypes.Structure):
    """An address and the number of its answer."""

    _fields_ = declared("void* address", "u32 number", "u8 address_bytes prefix")


class Source(ctypes.Structure):
    """A tree of a walk through several trees, and the classes of its records."""

    _fields_ = declared("void* tree marks", "u64 words", "void* classes", "u64 stride")


class ListForm(ctypes.Structure):
    """The form of a list of networks."""

    _fields_ = declared("char* before", "void* after ends", "u64 before_bytes", "u32 bits shortest is_range")


class Joint(ctypes.Structure):
    """Position of a walk through several trees."""

    _fields_ = (
        *declared("void* sources", "u64 source_count", "void* nodes values"),
        *declared("u64 next_high next_low last_high last_low combination leaves"),
        *declared("u32 skipped bits depth is_apart is_done"),
    )


_FUNCTIONS = {
    "split": "i64 void* u8",
    "cells": "i64 void* void* u64 u64 u8",
    "open": "i32 void*",
    "decode": "i64 void* void* u64 char* u64 void* u64 void* void* u64",
    "mark": "i64 void* void* u64",
    "outline": "void void* void* u64 char* u64 u64 void* void*",
    "list": "i64 void* u64 void* void* void* u64",
    "walk": "i64 void* void* void* u64 u64",
    "find": "i64 void* void*",
    "pick": "i64 void* void* u8 void*",
    "add": "void void* void*",
    "store": "i32 void* char* u64 u64 u32 void* void* void*",
    "combine": "i64 void* u64 void*",
    "settle": "void void* u64",
    "assemble": "i64 void* void* void* char* void* void* void* u64",
    "count": "void void* u64 u64 void*",
    "select": "i32 void* void* void*",
    "scan": "i64 void* void* void*",
    "trim": "i64 void* void* void*",
    "remember": "void void* void* u32 u32 u32 u8",
    "collect": "i64 void* void* void* u64",
    "sort": "void void* void* void* u64 void* u64 u64",
    "payload": "i64 void* void* u64 u64 void* void*",
}
"""The types of the result and of the arguments of each function."""


@cache
def load() -> SimpleNamespace | None:
    """Return the functions of the kernel; None if it was not built, or from another source."""
    try:
        library = ctypes.CDLL(LIBRARY)
        if not _is_current(library):
            return None
        functions = {name: getattr(library, f"geocli_{name}") for name in _FUNCTIONS}
    except (OSError, AttributeError):
        return None
    for name, function in functions.items():
        function.restype, *function.argtypes = (_TYPES[kind] for kind in _FUNCTIONS[name].split())
    _reuse_freed_memory()
    return SimpleNamespace(**functions)


def problem() -> str:
    """Return why there is no kernel."""
    return "compiled from another kernel.c" if os.path.exists(LIBRARY) else "missing"


def _is_current(library: ctypes.CDLL) -> bool:
    """Return whether the version of a library is the checksum of the source; True if there is no source."""
    library.geocli_version.restype = ctypes.c_uint32
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


def kernel() -> SimpleNamespace:
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


def numbering(capacity: int) -> Numbering:
    """Return an empty hash table."""
    slots = 1 << (4 * capacity // 3 - 1).bit_length()  # at most three quarters are used
    memory = allocated(16 * slots)
    table = Numbering(slots=address_of(memory), mask=slots - 1, capacity=capacity, secret=secret())
    table.memory = memory
    return table


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
