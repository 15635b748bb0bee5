"""`geocli docs`: the list of pages, and a page on a terminal and in a pipe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint
from tests.helpers.documentation import PAGES
from tests.helpers.terminals import STYLE, on_terminal

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

TOPICS = [name for name in PAGES if name != "README"]


def test_the_pages_are_listed_with_a_line_each(geocli: Geocli) -> None:
    """Each line begins with a topic and has the first sentence of its page."""
    run = geocli("docs")
    *lines, hint = filter(None, map(str.strip, run.stdout.decode().splitlines()))

    assert (0, b"") == (run.returncode, run.stderr)
    assert TOPICS == [line.split()[0] for line in lines]
    assert [] == [line for line in lines if not line.endswith(".")]
    assert "To read one: geocli docs TOPIC" == hint


@pytest.mark.parametrize("topic", TOPICS)
def test_page_in_a_pipe_is_markdown(geocli: Geocli, topic: str) -> None:
    """A pipe gets the Markdown file, byte for byte."""
    run = geocli("docs", topic)

    assert (0, PAGES[topic], b"") == (run.returncode, run.stdout.decode(), run.stderr)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_formatted_on_a_terminal(geocli: Geocli, topic: str) -> None:
    """Headings and links are rendered; a link to another page is reduced to its text."""
    status, shown = on_terminal(geocli, "docs", topic)
    text = STYLE.sub("", shown)

    assert 0 == status
    assert "\x1b" in shown
    assert PAGES[topic].splitlines()[0].removeprefix("# ") in text
    assert "\n## " not in text
    assert not re.search(r"\]\(|\((?!https?:)\S*\.md", text)


def test_unknown_topic_is_a_usage_error(geocli: Geocli) -> None:
    """The error lists the pages; a path is not a topic."""
    for topic in ("nonsense", "../errors", ""):
        run = geocli("docs", topic)

        assert (2, b"") == (run.returncode, run.stdout)
        assert f"command line: docs: no page {topic}; pages: {', '.join(TOPICS)}" == complaint(run)


def test_topics_are_completed(geocli: Geocli) -> None:
    """The shell completes the topics that begin with the typed letters."""
    environ = {"_GEOCLI_COMPLETE": "complete_bash", "COMP_WORDS": "geocli docs con", "COMP_CWORD": "2"}

    assert ["configuration", "contributing"] == geocli(environ=environ).stdout.decode().split()


def test_documentation_needs_no_data_directory(geocli: Geocli) -> None:
    """The command creates no data directory."""
    assert 0 == geocli("docs", "store").returncode
    assert not geocli.data_dir.exists()
