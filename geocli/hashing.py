"""BLAKE2b without `hashlib`."""

from __future__ import annotations

# `hashlib` loads OpenSSL, which takes 3 ms of each start; `random` of the standard library avoids it likewise.
try:
    from _blake2 import blake2b
except ImportError:  # pragma: no cover
    from hashlib import blake2b

__all__ = ["blake2b"]
