"""A world map as SVG, whose countries are coloured by a number.

The shapes in `world.json` are Natural Earth's (public domain), as `tests/helpers/world_shapes.py` makes them.
"""

from __future__ import annotations

import json
import os
from html import escape
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

from geocli.countries import country_name
from geocli.formats.terminal import share_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHAPES = os.path.join(os.path.dirname(__file__), "world.json")
CLASSES = 5
"""Number of colours, from the smallest numbers to the largest."""
STYLE = """
:root { --sea: #fff; --land: #e4e6e4; --border: #fff;
  --class-1: #c6ddf1; --class-2: #8fbde2; --class-3: #559bd0; --class-4: #2672b0; --class-5: #0a4478 }
@media (prefers-color-scheme: dark) {
  :root { --sea: #16191c; --land: #33393e; --border: #16191c;
    --class-1: #1f4a6d; --class-2: #2a6a9c; --class-3: #3d8cc9; --class-4: #76b8ea; --class-5: #c4e4ff } }
.map path, .map circle { fill: var(--land); stroke: var(--border); stroke-width: .6 }
"""
"""Colours on a light and on a dark background."""
STYLE += "".join(f".map .class-{number} {{ fill: var(--class-{number}) }}\n" for number in range(1, CLASSES + 1))
ROUNDING = 1e-9
"""Tolerance that keeps powers of one number in different classes."""
SMALLEST_RADIUS, LARGEST_RADIUS = 3, 6
"""Radius of the dots of countries that are too small for a shape."""


class Class(NamedTuple):
    """Countries of one colour."""

    number: int
    """From 1."""
    least: int
    most: int
    """Limits of their numbers, both of which occur."""


def classes(counts: Mapping[str, int]) -> list[Class]:
    """Return the classes that occur, from the smallest to the largest."""
    members: dict[int, list[int]] = {}
    for count in counts.values():
        members.setdefault(_class_of(count, counts), []).append(count)
    return [Class(number, min(own), max(own)) for number, own in sorted(members.items())]


def country_map(counts: Mapping[str, int], total: int) -> str:
    """Return a map without colours of its own, for a page with `STYLE`.

    Counts are positive numbers by ISO 3166-1 alpha-2 code, and shares of a total; unknown codes are not drawn.
    """
    with open(SHAPES, encoding="utf-8") as file:
        world = json.load(file)
    return (
        f'<svg class="map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {world["width"]} {world["height"]}"'
        f' role="img" aria-label="Map of the world"><!-- {world["origin"]} -->'
        f"{''.join(_parts(world, counts, total))}</svg>"
    )


def standalone_map(counts: Mapping[str, int], total: int) -> str:
    """Return a map as a complete SVG file."""
    background = '<rect width="100%" height="100%" fill="var(--sea)"/>'
    text = country_map(counts, total)
    head = text.index("><!--") + 1
    return f"{text[:head]}<style>{STYLE}</style>{background}{text[head:]}\n"


def _parts(world: Any, counts: Mapping[str, int], total: int) -> Iterator[str]:
    for code, shape in world["shapes"].items():
        yield f'<path d="{shape}"{_described(code, counts, total)}</path>'
    for code in sorted(counts.keys() & (world["points"].keys() - world["shapes"].keys()), key=counts.__getitem__):
        x, y = world["points"][code]
        radius = SMALLEST_RADIUS + (LARGEST_RADIUS - SMALLEST_RADIUS) * (_class_of(counts[code], counts) - 1) / CLASSES
        yield f'<circle cx="{x}" cy="{y}" r="{radius:.1f}"{_described(code, counts, total)}</circle>'


def _described(code: str, counts: Mapping[str, int], total: int) -> str:
    """Return the class and the tooltip of a country."""
    name, count = escape(country_name(code) or code), counts.get(code)
    if count is None:
        return f"><title>{name}</title>"
    colour = f' class="class-{_class_of(count, counts)}"'
    return f"{colour}><title>{name}: {count:,} ({escape(share_text(count, total))})</title>"


def _class_of(count: int, counts: Mapping[str, int]) -> int:
    """Return the class of one of the numbers, by its logarithm."""
    least, most = min(counts.values()), max(counts.values())
    if count == most:
        return CLASSES
    return 1 + int(log(count / least) / log(most / least) * (CLASSES - 1) + ROUNDING)
