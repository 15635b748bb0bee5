"""BLAKE2b, without what `hashlib` loads."""

from __future__ import annotations

try:  # as the standard library's `random` does: hashlib loads OpenSSL, which takes 3 ms of each start
    from _blake2 import blake2b
except ImportError:  # pragma: no cover
    from hashlib import blake2b

__all__ = ["blake2b"]
