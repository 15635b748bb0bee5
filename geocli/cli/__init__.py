"""The command line: one module a command, which parses its options, makes one call, and renders the result.

Modules with commands do not import `annotations` from `__future__`: Typer would compile and evaluate each annotation
twice, which takes 5 ms of a start.
"""


def is_looked_up(word: str) -> bool:
    """Return whether a word in the place of a command is an address: commands consist of letters and hyphens.

    >>> [is_looked_up(word) for word in ("8.8.8.8", "::1", "AS15169", "", "-", "re-resolve", "--help")]
    [True, True, True, True, True, False, False]
    """
    return word == "-" or not (word.startswith("-") or word.replace("-", "").isalpha())
