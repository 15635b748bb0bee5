"""The README and the pages of `geocli docs`, and the examples in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = {"README": ROOT / "README.md", **{path.stem: path for path in sorted((ROOT / "geocli" / "docs").glob("*.md"))}}
PAGES = {name: path.read_text() for name, path in PATHS.items()}
"""The text of each page, by its topic."""
ALL = "\n".join(PAGES.values())


def code_blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def console_examples(text: str) -> list[tuple[str, str]]:
    """Return each command that a page shows after `$`, with the output that is shown for it."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(code_blocks(text, "console")), re.MULTILINE)
