"""Entry point of `geocli` and `python -m geocli`, with a fast path that imports no option parser."""

from __future__ import annotations

import gc
import os
import sys

from geocli.cli import is_looked_up
from geocli.console import guard, open_missing_descriptors


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    # Imported objects live until exit; collecting them would waste 5 % of startup.
    gc.set_threshold(200_000)
    open_missing_descriptors()
    status = guard(_run)
    try:
        sys.stderr.flush()
    finally:
        # Everything is written and synced; finalizing the interpreter would take 2 ms.
        os._exit(status)


def _run() -> int:
    """Run `lookup ADDRESS...`, also without the word, and `flush` without the option parser, all else with it."""
    arguments = sys.argv[1:]
    if arguments and is_looked_up(arguments[0]):
        arguments = ["lookup", *arguments]
    match arguments:
        case ["lookup", *addresses] if addresses and not any(text.startswith("-") for text in addresses):
            from geocli import settings
            from geocli.cli.run_lookup import lookup

            return lookup(addresses, settings.load())
        case ["flush"]:
            from geocli import settings
            from geocli.cli.run_flush import flush

            return flush(settings.load())
    from geocli.cli.app import run

    return run()


if __name__ == "__main__":
    main()
