"""Values are compared by their fields, and never change."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from geocli.immutable import Value


class Point(Value):
    """Somewhere on a map."""

    x: int
    """Steps to the east."""
    y: int = 0
    """Steps to the north."""
    tags: dict[str, str] | None = None
    """Written with any other fields."""

    sheet = "the same for all"

    @property
    def mirrored(self) -> Point:
        return self.replace(x=self.y, y=self.x)


class Place(Value):
    """Has the same fields as a point."""

    x: int
    y: int = 0
    tags: dict[str, str] | None = None


def test_fields_are_given_by_name_or_take_their_default() -> None:
    """A field that is not given has the class's default."""
    point = Point(x=3)
    assert (3, 0, None) == (point.x, point.y, point.tags)


@pytest.mark.parametrize(
    ("named", "values"),
    [("x", {}), ("x", {"y": 1}), ("z", {"x": 1, "z": 2}), ("x, z", {"z": 2}), ("sheet", {"x": 1, "sheet": "A"})],
)
def test_missing_and_unknown_fields_are_errors(named: str, values: dict[str, Any]) -> None:
    """The error names missing or unknown fields; only annotated names are fields."""
    with pytest.raises(TypeError) as caught:
        Point(**values)
    assert f"Point: missing or unknown fields: {named}" == str(caught.value)


def test_fields_are_not_given_by_position() -> None:
    """The order of the fields is nothing to rely on when a value is made."""
    with pytest.raises(TypeError):
        Point(3)  # type: ignore[call-arg]


def test_names_of_the_fields() -> None:
    """The names of all fields are known to the class, without properties and plain attributes."""
    assert frozenset({"x", "y", "tags"}) == Point.field_names
    assert frozenset() == Value.field_names


@pytest.mark.parametrize("name", ["x", "y", "z"])
def test_a_field_cannot_be_set(name: str) -> None:
    """Setting a field, with or without a value, or any other attribute fails, with the alternative."""
    point = Point(x=3)
    with pytest.raises(AttributeError) as caught:
        setattr(point, name, 4)
    assert f"Point.{name} cannot be changed; see replace()" == str(caught.value)
    assert Point(x=3) == point


def test_a_field_cannot_be_deleted() -> None:
    """Deleting a field would change the value, so it fails too."""
    point = Point(x=3, y=4)
    with pytest.raises(AttributeError):
        del point.y
    assert Point(x=3, y=4) == point


def test_equal_fields_make_equal_values() -> None:
    """Values are equal, and found in sets, if their fields are, given or not."""
    assert Point(x=3) == Point(x=3, y=0, tags=None)
    assert {Point(x=3)} == {Point(x=3), Point(x=3, y=0)}


@pytest.mark.parametrize("other", [Point(x=4), Point(x=3, y=1), Place(x=3), {"x": 3, "y": 0, "tags": None}, None])
def test_other_fields_or_another_class_make_another_value(other: object) -> None:
    """A value differs from one with other fields, and from values of other classes."""
    assert Point(x=3) != other


def test_a_value_is_as_hashable_as_its_fields() -> None:
    """A value with a dict cannot be put into a set, like the dict."""
    with pytest.raises(TypeError):
        hash(Point(x=3, tags={"a": "b"}))


@pytest.mark.parametrize(
    ("representation", "point"),
    [
        ("Point(x=3)", Point(x=3)),
        ("Point(x=3, y=4)", Point(x=3, y=4)),
        ("Point(x=3, tags={'a': 'b'})", Point(x=3, tags={"a": "b"})),
        ("Point(x=3)", Point(x=3, y=0, tags=None)),
        ("Point(x=0)", Point(x=0)),
    ],
)
def test_repr_omits_defaults(representation: str, point: Point) -> None:
    """The representation omits each field that has its default, given or not."""
    assert representation == repr(point)


def test_as_dict_has_every_field_in_the_order_of_the_class() -> None:
    """All fields come in the order of the class, not in that of the arguments."""
    assert [("x", 3), ("y", 1), ("tags", None)] == list(Point(y=1, x=3).as_dict().items())


def test_replace_returns_a_changed_copy() -> None:
    """A copy has the changes and all other fields, and the original is unchanged."""
    point = Point(x=3, tags={"a": "b"})
    assert Point(x=3, y=5, tags={"a": "b"}) == point.replace(y=5)
    assert Point(x=3, tags={"a": "b"}) == point


def test_replace_rejects_unknown_fields() -> None:
    """A copy has the same fields, and no others."""
    with pytest.raises(TypeError, match="Point: missing or unknown fields: z"):
        Point(x=3).replace(z=5)


def test_methods_and_properties_of_a_subclass_work() -> None:
    """A value may compute from its fields."""
    assert Point(x=1, y=2) == Point(x=2, y=1).mirrored


def test_copies_and_pickles_are_equal() -> None:
    """Values travel between processes unchanged."""
    point = Point(x=3, tags={"a": "b"})
    assert point == pickle.loads(pickle.dumps(point))  # noqa: S301 (made here)
    assert point == copy.deepcopy(point)
