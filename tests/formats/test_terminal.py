"""Tables that fit a terminal, and colours for any background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.color import Color

from geocli.formats.terminal import AMBER, BLUE, GREEN, RED, Column, Listing, open_console, show
from tests.helpers.screens import screen

if TYPE_CHECKING:
    from geocli.formats.terminal import Cell


def _shown(monkeypatch: pytest.MonkeyPatch, width: int, columns: tuple[Column, ...], *rows: tuple[Cell, ...]) -> str:
    listing = Listing(columns=columns, rows=rows)
    return screen(monkeypatch, width, lambda: show(open_console(), listing, complete="-f json")).strip("\n")


def test_the_widest_column_is_cut_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that does not fit ends in an ellipsis, or begins with one; fixed columns stay whole."""
    columns = (Column("a", is_fixed=True), Column("b"), Column("c", is_cut_before=True))
    shown = _shown(monkeypatch, 50, columns, ("fixed " * 3, "x" * 14, "/long/path/to/some/file"))

    assert f" {'fixed ' * 3}   {'x' * 11}…   …o/some/file" == shown.splitlines()[2]
    assert "-f json shows everything" == shown.splitlines()[-1]


def test_minor_columns_go_before_others_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table is too wide, a minor column is dropped, and nothing else if that is enough."""
    columns = (Column("a"), Column("b", is_minor=True), Column("c"))
    shown = _shown(monkeypatch, 50, columns, ("x" * 20, "y" * 9, "z" * 20))

    assert f" {'x' * 20}   {'z' * 20}" == shown.splitlines()[2]


def test_the_first_column_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the names of the rows, and is cut as far as it must be."""
    columns = (Column("name", min_cells=20), Column("b"), Column("n", is_number=True, is_fixed=True))
    shown = _shown(monkeypatch, 20, columns, ("x" * 30, "y" * 9, "1,000,000"))

    assert f" {'x' * 5}…   1,000,000" == shown.splitlines()[2]


def test_a_table_that_fits_has_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are right-aligned, and no other format is mentioned."""
    columns = (Column("a"), Column("n", is_number=True))
    shown = _shown(monkeypatch, 50, columns, ("x", "1"), ("y", "1,000"))

    assert [" x       1", " y   1,000"] == shown.splitlines()[2:4]
    assert "shows everything" not in shown


def test_wide_characters_are_counted_as_two_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell of Chinese text is cut between characters."""
    shown = _shown(monkeypatch, 20, (Column("a", is_cut_before=True),), ("東京都千代田区千代田区",))

    assert " …千代田区千代田区" == shown.splitlines()[2]


@pytest.mark.parametrize("colour", [GREEN, AMBER, RED, BLUE])
def test_colours_have_contrast_to_light_and_dark(colour: str) -> None:
    """Each has a contrast of at least 3.8 to black and to white (WCAG 2, relative luminance)."""
    channels = [
        value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4
        for value in Color.parse(colour).get_truecolor()
    ]
    luminance = sum(share * channel for share, channel in zip((0.2126, 0.7152, 0.0722), channels, strict=True))

    assert 3.8 <= (luminance + 0.05) / 0.05
    assert 3.8 <= 1.05 / (luminance + 0.05)
