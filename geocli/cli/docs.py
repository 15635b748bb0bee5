"""`geocli docs`: read the documentation."""

from __future__ import annotations

from typing import Annotated

import typer


def _complete() -> list[str]:
    from geocli.formats import pages

    return pages.topics()


def docs(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="[TOPIC]", help="Page to show; default: list the pages.", autocompletion=_complete),
    ] = None,
) -> None:
    """Show a page of the documentation."""
    from geocli.formats import pages

    if topic is None:
        pages.print_topics()
    else:
        pages.print_page(topic)
