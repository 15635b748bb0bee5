"""The world map: coasts, and marks on countries."""

from __future__ import annotations

import pytest

from geocli.countries import _names
from geocli.formats.text_map import ASCII, COLUMNS, NORTH, SOUTH, cell, world

BOXES = {
    "US": (25, 49, -125, -67),
    "CA": (42, 75, -141, -53),
    "BR": (-34, 5, -74, -35),
    "AR": (-55, -22, -74, -54),
    "GB": (50, 59, -8, 2),
    "FR": (42, 51, -5, 8),
    "DE": (47, 55, 6, 15),
    "IT": (36, 47, 6, 19),
    "NO": (58, 71, 4, 31),
    "RU": (41, 78, 30, 180),
    "IN": (8, 35, 68, 97),
    "CN": (18, 54, 74, 135),
    "JP": (31, 46, 129, 146),
    "AU": (-39, -11, 113, 154),
    "NZ": (-47, -34, 166, 179),
    "ZA": (-35, -22, 16, 33),
    "EG": (22, 32, 25, 36),
    "IS": (63, 67, -25, -13),
    "MG": (-26, -12, 43, 51),
    "SG": (1, 2, 103, 105),
}
"""Southern, northern, western and eastern limits of countries in degrees, without remote territories."""
LAND_AND_SEA = {
    (61, 100): True,  # Siberia
    (40, -100): True,  # Kansas
    (-15, -50): True,  # Brazil
    (20, 10): True,  # the Sahara
    (-25, 135): True,  # the middle of Australia
    (75, -40): True,  # Greenland
    (0, -30): False,  # the Atlantic
    (30, -150): False,  # the Pacific
    (-20, 80): False,  # the Indian Ocean
    (-40, 100): False,
    (48, -35): False,
}


def _text(line: list[tuple[str, bool]]) -> str:
    return "".join(piece for piece, _ in line)


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("code", BOXES)
def test_a_mark_is_in_its_country(code: str, columns: int) -> None:
    """The cell of the mark covers a part of the country."""
    south, north, west, east = BOXES[code]
    lines = list(world({code: 1.0}, columns))
    ((row, column),) = [(row, _text(line).index("●")) for row, line in enumerate(lines) if "●" in _text(line)]
    height, width = (NORTH - SOUTH) / len(lines), 360 / columns
    top, left = NORTH - row * height, -180 + column * width

    assert (row, column) == cell(code, columns)
    assert south <= top
    assert top - height <= north
    assert west <= left + width
    assert left <= east


@pytest.mark.parametrize("columns", [1, 40, 80, 120])
def test_every_country_is_on_the_map(columns: int) -> None:
    """Each code of the table of country names is on the map."""
    rows = len(list(world({}, columns)))
    cells = {code: cell(code, columns) for code in _names()}

    assert {} == {code: at for code, at in cells.items() if not (0 <= at[0] < rows and 0 <= at[1] < columns)}


def test_land_is_land_and_sea_is_sea() -> None:
    """The largest map is checked at well-known places."""
    lines = [_text(line) for line in world({}, COLUMNS)]
    actual = {
        (latitude, longitude): lines[(NORTH - latitude) // 6][(longitude + 180) // 3] != " "
        for latitude, longitude in LAND_AND_SEA
    }

    assert LAND_AND_SEA == actual


@pytest.mark.parametrize(("width", "expected"), [(40, (8, 40)), (80, (16, 80)), (120, (24, 120)), (300, (24, 120))])
def test_the_size_of_a_map(width: int, expected: tuple[int, int]) -> None:
    """A map is as wide as the terminal, up to a maximum; cells are twice as high as wide."""
    lines = [_text(line) for line in world({"US": 0.5, "FJ": 0.5}, width)]

    assert (expected[0], {expected[1]}) == (len(lines), set(map(len, lines)))


def test_shares_are_next_to_the_marks() -> None:
    """The share is after the mark, or before it at the edge; crowded marks have none, nor do tiny shares."""
    marks = [
        piece
        for line in world({"US": 0.452, "NZ": 0.2, "FJ": 0.1, "AU": 0.001}, 40)
        for piece, is_mark in line
        if is_mark
    ]

    assert {"●45%", "·", "20%●", "10%●"} == set(marks)


def test_the_larger_share_is_shown() -> None:
    """When two countries share a cell, only the larger one's number is shown."""
    marks = [piece for line in world({"LI": 0.1, "CH": 0.6}, 40) for piece, is_mark in line if is_mark]

    assert ["●60%"] == [piece.removeprefix("10%●") for piece in marks]


def test_unknown_codes_are_ignored() -> None:
    """Unknown codes, which another program may have written to the store, are ignored."""
    assert list(world({}, 80)) == list(world({"??": 0.5, "\x1b": 0.5}, 80))


def test_a_map_for_ascii_terminals() -> None:
    """On an ASCII terminal the map consists of ASCII characters."""
    lines = [_text(line) for line in world({"US": 1.0}, 80, ASCII)]

    assert all(line.isascii() for line in lines)
    assert 1 == sum("o100%" in line for line in lines)


def test_labels_are_apart() -> None:
    """Between the labels of two countries of a line is a character that belongs to neither."""
    shares = {"ES": 0.2, "IT": 0.2, "GR": 0.2, "TR": 0.2, "FR": 0.1, "US": 0.1}
    for columns in (40, 80, 120):
        marks = [piece for line in world(shares, columns) for piece, is_mark in line if is_mark]

        assert [] == [piece for piece in marks if piece.count("%") > 1]
        assert 2 <= sum("%" in piece for piece in marks)


def test_marks_grow_with_the_share() -> None:
    """A country with a larger share has a larger mark."""
    shares = {"BR": 0.004, "AU": 0.05, "US": 0.5}
    marks = {piece[0] for line in world(shares, 80) for piece, is_mark in line if is_mark}

    assert {"·", "•", "●"} == marks
