"""Make the shapes of countries in `geocli/formats/world.json` from Natural Earth's in the npm package world-atlas.

npm pack world-atlas@2 && tar xf world-atlas-2.*.tgz
python -m tests.helpers.world_shapes package/countries-110m.json geocli/formats/world.json
"""

from __future__ import annotations

import json
import sys
from itertools import accumulate, chain, pairwise
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Any

from babel.core import get_global

from geocli.formats.text_map import centres

Point = tuple[float, float]
WIDTH = 1000
"""Width of the map, in the units of the shapes."""
NORTH, SOUTH = 84, -57
ORIGIN = "Natural Earth 4.1.0, 1:110m Admin 0 countries, public domain (naturalearthdata.com); Equal Earth projection"
UNNAMED = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}
"""Countries without an ISO 3166-1 number there, and those that they are drawn with here."""
MIN_AREA = 2.5
"""Smallest island that is drawn, in square units."""


def project(longitude: float, latitude: float) -> tuple[float, float]:
    """Return a point in the Equal Earth projection (Šavrič, Patterson and Jenny 2018), which keeps areas."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = asin(sqrt(3) / 2 * sin(radians(latitude)))
    x = 2 * sqrt(3) * radians(longitude) * cos(theta)
    x /= 3 * (9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1)
    return x, a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta


EDGE, TOP, BOTTOM = project(180, 0)[0], project(0, NORTH)[1], project(0, SOUTH)[1]
SCALE = WIDTH / (2 * EDGE)


def place(longitude: float, latitude: float) -> tuple[int, int]:
    x, y = project(longitude, latitude)
    return round((x + EDGE) * SCALE), round((TOP - y) * SCALE)


def arcs_of(topology: Any) -> list[list[Point]]:
    """Return the arcs in degrees, as the specification of TopoJSON has them: a first point, then differences."""
    (scale_x, scale_y), (first_x, first_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for deltas in topology["arcs"]:
        columns = [list(accumulate(column)) for column in zip(*deltas, strict=True)]
        arcs.append([(x * scale_x + first_x, y * scale_y + first_y) for x, y in zip(*columns, strict=True)])
    return arcs


def rings_of(arcs: list[list[Point]], numbers: list[int]) -> list[list[tuple[int, int]]]:
    """Return a ring on the map; one across the antimeridian becomes two."""
    points = list(chain.from_iterable((arcs[n] if n >= 0 else arcs[~n][::-1])[:-1] for n in numbers))
    if any(abs(x - next_x) > 180 for (x, _), (next_x, _) in pairwise(points)):
        east = [(x % 360, y) for x, y in points]
        parts = [[(min(x, 180), y) for x, y in east], [(max(x, 180) - 360, y) for x, y in east]]
    else:
        parts = [points]
    return [list(dict.fromkeys(place(x, y) for x, y in _without_edge(part))) for part in parts]


def _without_edge(ring: list[Point]) -> list[Point]:
    """Drop the points of a ring between others on the antimeridian."""
    neighbours = zip([ring[-1], *ring], ring, [*ring[1:], ring[0]], strict=False)
    return [point for before, point, after in neighbours if not before[0] == point[0] == after[0] in {-180, 180}]


def path_of(ring: list[tuple[int, int]]) -> str:
    area = sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise([*ring, *ring[:1]])) / 2
    if abs(area) < MIN_AREA:
        return ""
    steps = (f"{x - before_x} {y - before_y}" for (before_x, before_y), (x, y) in pairwise(ring))
    return f"M{ring[0][0]} {ring[0][1]}l{' '.join(steps).replace(' -', '-')}z"


def main(source: str, target: str) -> None:
    topology = json.loads(Path(source).read_text(encoding="utf-8"))
    arcs, shapes = arcs_of(topology), dict[str, str]()
    for country in topology["objects"]["countries"]["geometries"]:
        names = get_global("territory_aliases").get(country.get("id"))
        code = names[0] if names else UNNAMED[country["properties"]["name"]]
        polygons = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
        rings = [path_of(ring) for polygon in polygons for numbers in polygon for ring in rings_of(arcs, numbers)]
        if code != "AQ":
            shapes[code] = shapes.get(code, "") + "".join(rings)
    points = {code: place(longitude, latitude) for code, (latitude, longitude) in centres().items() if code != "AQ"}
    height = round((TOP - BOTTOM) * SCALE)
    size = {"origin": ORIGIN, "width": WIDTH, "height": height}
    lines = [f'"{name}": {json.dumps(value, sort_keys=True)}' for name, value in {**size, "points": points}.items()]
    members = ",\n".join(f'"{code}": "{shape}"' for code, shape in sorted(shapes.items()) if shape)
    Path(target).write_text("{" + ",\n".join([*lines, '"shapes": {\n' + members + "}"]) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
