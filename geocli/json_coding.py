"""JSON as the module `json` reads and writes it, by the same functions in C.

Importing `json` compiles regular expressions, which takes 5 ms, a sixth of a cached lookup.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Defaults:
    """The attributes of `json.JSONDecoder` that its scanner reads."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def _parser(scan: Callable[[str, int], tuple[Any, int]]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value, end = scan(text, 0)
        except (StopIteration, SystemError):  # the latter where `json.decoder`, which has the error, is not imported
            end = -1
        if end == len(text):
            return value
        from json import loads

        # It accepts blanks around a value, and raises the error for anything else.
        return loads(text)

    return parse


def _encoder(
    quote: Callable[[str], str], item_separator: str, key_separator: str, *, allow_nan: bool
) -> Callable[[Any], str]:
    pieces = make_encoder(
        markers=None,
        default=_refuse,
        encoder=quote,
        indent=None,
        key_separator=key_separator,
        item_separator=item_separator,
        sort_keys=False,
        skipkeys=False,
        allow_nan=allow_nan,
    )
    return lambda value: quote(value) if isinstance(value, str) else "".join(pieces(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


if hasattr(sys, "gettotalrefcount"):
    # A debug build of Python, which would abort where other builds raise the SystemError above.
    import json.decoder  # noqa: F401 (its error is what the scanner raises)
try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    options: Any = _Defaults
    parse_json = _parser(make_scanner(options))
    compact_json = _encoder(encode_basestring_ascii, ",", ":", allow_nan=False)
    readable_json = _encoder(encode_basestring, ", ", ": ", allow_nan=True)
except (ImportError, AttributeError, TypeError):  # private functions, which another Python may not have
    from json import JSONEncoder
    from json import loads as parse_json
    from json.encoder import encode_basestring, encode_basestring_ascii

    compact_json = JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    readable_json = JSONEncoder(ensure_ascii=False).encode

__all__ = ["compact_json", "encode_basestring", "encode_basestring_ascii", "parse_json", "readable_json"]
