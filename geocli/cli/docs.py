"""`geocli docs`: read the documentation."""

from typing import Annotated

import typer


def _complete() -> list[str]:
    from geocli.formats import docs_pages

    return docs_pages.topics()


def docs(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="[TOPIC]", help="Page to show; default: list the pages.", autocompletion=_complete),
    ] = None,
) -> None:
    """Show a page of the documentation."""
    from geocli.formats import docs_pages

    if topic is None:
        docs_pages.print_topics()
    else:
        docs_pages.print_page(topic)
