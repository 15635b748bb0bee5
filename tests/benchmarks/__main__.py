"""`python -m tests.benchmarks NAME`: measure, and print a table."""

from __future__ import annotations

import argparse

from tests.benchmarks import flush, startup

BENCHMARKS = {"flush": flush.main, "startup": startup.main}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS)
    BENCHMARKS[parser.parse_args().name]()


if __name__ == "__main__":
    main()
