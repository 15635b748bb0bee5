"""Kinds of settings: which values a setting may have, and how a variable of the environment is parsed."""

from __future__ import annotations

from geocli.sanitize import may_be_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Kind:
    """A kind of setting.

    Attributes:
        name: as error messages name it.
        accepts: returns whether a value is of this kind.
        parse: returns the value of a variable of the environment, or raises ValueError.

    """

    def __init__(self, name: str, accepts: Callable[[Any], object], parse: Callable[[str], Any] = str) -> None:
        self.name, self.accepts, self.parse = name, accepts, parse

    def refusal(self, value: object) -> str:
        """Return why a value is refused; what may be a licence key is not shown."""
        quoted = "'…'" if isinstance(value, str) and may_be_key(value) else repr(value)
        return f"{quoted} is not {self.name}"


def _is_string(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_host(value: object) -> bool:
    return _is_string(value) and all(char.isascii() and (char.isalnum() or char in ".-:") for char in str(value))


def _number(name: str, maximum: float) -> Kind:
    def accepts(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= maximum

    return Kind(name, accepts, float)


def canonical_language(value: object) -> str:
    """Return the usual spelling of a language tag, an empty string for anything else."""
    from geocli.languages import canonical

    return canonical(value) if isinstance(value, str) else ""


STRING = Kind("a string", _is_string)
PATH = Kind("a string", _is_string)
PATHS = Kind(
    "a list of strings",
    lambda value: isinstance(value, list) and all(map(_is_string, value)),
    lambda text: [path for path in text.split(":") if path],
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), lambda text: _FLAGS.get(text.lower()))
INTEGER = Kind("an integer", lambda value: type(value) is int and 0 <= value <= 1 << 53, int)
SECONDS = _number("a number of seconds", 1e9 - 1)
DAYS = _number("a number of days", 366)
HOST = Kind("a host name", _is_host)
SERVICE = Kind("city, country or insights", ("city", "country", "insights").__contains__)
LANGUAGE = Kind("a language like de or pt-BR", canonical_language)
