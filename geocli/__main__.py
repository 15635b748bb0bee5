"""The entry point: `geocli`, and `python -m geocli`."""

from __future__ import annotations

import gc
import os
import sys

from geocli.console import guard, open_missing_descriptors


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    gc.set_threshold(200_000)  # what is imported is no garbage; looking for some takes a twentieth of a start
    open_missing_descriptors()
    status = guard(_plain)
    try:
        sys.stderr.flush()
    finally:
        os._exit(status)  # all is written and synced; taking the interpreter down takes 2 ms


def _plain() -> int:
    """Run the plain forms, `lookup ADDRESS...` and `flush`, without the option parser; all else with it."""
    match sys.argv[1:]:
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
