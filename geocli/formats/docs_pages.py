"""Pages of the documentation, which are Markdown files in `geocli/docs`."""

from __future__ import annotations

import os
import re
import sys

from geocli.console import write
from geocli.errors import SettingsError
from geocli.formats.terminal import BLUE, harmless, open_console

DIRECTORY = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs")
_RELATIVE_LINK = re.compile(r"\[([^]]+)\]\((?!https?:)[^)]+\)")
"""A link to another page, which a terminal cannot follow; its text names the command that shows the page."""
_LANGUAGE = re.compile(r"^```\w+$", re.MULTILINE)
"""The language of an example, by which it would be coloured."""


def topics() -> list[str]:
    """Return the names of the pages, sorted."""
    return sorted(name.removesuffix(".md") for name in os.listdir(DIRECTORY) if name.endswith(".md"))


def print_topics() -> None:
    """Print each topic with the first sentence of its page."""
    from rich.table import Column, Table

    console = open_console()
    grid = Table.grid(Column(no_wrap=True), Column(), padding=(0, 2))
    for topic in topics():
        grid.add_row(harmless(topic), harmless(_summary(_read(topic))))
    console.print(grid)
    console.print("To read one: geocli docs TOPIC")


def print_page(topic: str) -> None:
    """Print a page, formatted on a terminal, else as Markdown; raise SettingsError if it does not exist."""
    if topic not in topics():
        raise SettingsError("docs", f"no page {topic}; pages: {', '.join(topics())}", origin="command line")
    text = _read(topic)
    if not sys.stdout.isatty():
        write(text.encode())
        return
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = open_console()
    # Rich's themes are for a dark background, or bring one.
    console.push_theme(Theme({"markdown.code": f"bold {BLUE}"}))
    text = _LANGUAGE.sub("```", _RELATIVE_LINK.sub(r"\1", text))
    console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))


def _read(topic: str) -> str:
    with open(os.path.join(DIRECTORY, f"{topic}.md"), encoding="utf-8") as page:
        return page.read()


def _summary(text: str) -> str:
    """Return the paragraph below the title of a page."""
    return text.split("\n\n", 2)[1].replace("\n", " ")
