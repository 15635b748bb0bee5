"""Immutable value classes.

`dataclasses` and `typing.NamedTuple` do the same, but importing either takes longer (5 ms and 2.5 ms) than looking a
cached address up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        """Replace `typing.dataclass_transform`, which only type checkers read."""
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A record with the annotated fields of its class, compared by value.

    A class attribute is the default of a field; a field without one is required.
    """

    field_names: frozenset[str] = frozenset()
    """Names of all fields; not a field itself."""

    def __init_subclass__(cls) -> None:
        """Collect the fields, and those without a default."""
        cls._order = tuple(cls.__annotations__)
        cls.field_names = frozenset(cls._order)
        cls._required = frozenset(name for name in cls.field_names if name not in cls.__dict__)

    def __init__(self, **values: Any) -> None:
        """Set the fields; raise TypeError if one is missing or unknown."""
        if not self._required <= values.keys() <= self.field_names:
            wrong = (self._required - values.keys()) | (values.keys() - self.field_names)
            msg = f"{type(self).__name__}: missing or unknown fields: {', '.join(sorted(wrong))}"
            raise TypeError(msg)
        self.__dict__.update(values)

    if TYPE_CHECKING:
        _required: frozenset[str]
        _order: tuple[str, ...]
    else:

        def __setattr__(self, name: str, _: object) -> None:
            """Raise AttributeError: threads share values."""
            msg = f"{type(self).__name__}.{name} cannot be changed; see replace()"
            raise AttributeError(msg)

        def __delattr__(self, name: str) -> None:
            """Raise AttributeError."""
            self.__setattr__(name, None)

    def __eq__(self, other: object) -> bool:
        """Compare class and fields."""
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        """Hash the fields, which must be hashable themselves."""
        return hash(tuple(self._values().values()))

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults."""
        default = type(self).__dict__
        values = self._values().items()
        fields = [f"{name}={value!r}" for name, value in values if name not in default or value != default[name]]
        return f"{type(self).__name__}({', '.join(fields)})"

    def as_dict(self) -> dict[str, Any]:
        """Return every field with its value, in a fixed order."""
        return self._values()

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._order}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; takes half as long as making a value of its fields."""
        if not self.field_names.issuperset(changes):
            return type(self)(**{**self.__dict__, **changes})  # which raises TypeError
        copy = object.__new__(type(self))
        values = copy.__dict__
        values.update(self.__dict__)
        values.update(changes)
        return copy
