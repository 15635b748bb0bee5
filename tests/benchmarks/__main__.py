"""`python -m tests.benchmarks NAME`: measure, and print a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks import bulk, cluster, flush, networks, startup, stats


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = parser.add_subparsers(metavar="NAME", required=True)
    names.add_parser("flush", help="flush, compared with the sqlite3 shell").set_defaults(measure=flush.main)
    names.add_parser("startup", help="what one command costs").set_defaults(measure=startup.main)
    names.add_parser("stats", help="statistics of a large store").set_defaults(measure=stats.main)
    of_networks = names.add_parser("networks", help="networks, compared with a walk in C")
    of_networks.set_defaults(measure=networks.main)
    of_networks.add_argument("--db", type=Path, metavar="FILE", help="a City database (default: one that is made up)")
    of_networks.add_argument("--asn", type=Path, metavar="FILE", help="an ASN database (default: one that is made up)")
    of_bulk = names.add_parser("bulk", help="batch, compared with a C program")
    of_bulk.set_defaults(measure=bulk.main)
    of_bulk.add_argument("--db", type=Path, metavar="FILE", help="a City database (default: one that is made up)")
    of_bulk.add_argument("--only", action="append", choices=bulk.CASES, help="run this case; may be repeated")
    of_bulk.add_argument("--base", type=Path, metavar="DIR", help="an older release, with its Python in DIR/venv")
    of_bulk.add_argument("--scale", type=float, default=1, help=argparse.SUPPRESS)  # of the number of lines
    of_cluster = names.add_parser("cluster", help="batch on one worker and on two")
    of_cluster.set_defaults(measure=cluster.main)
    of_cluster.add_argument("--db", type=Path, metavar="FILE", help="a City database (default: one that is made up)")
    of_cluster.add_argument("--rounds", type=int, default=cluster.ROUNDS, help="how often all programs take turns")
    of_cluster.add_argument("--scale", type=float, default=1, help="of the number of lines")
    options = vars(parser.parse_args())
    options.pop("measure")(**options)


if __name__ == "__main__":
    main()
