"""Run a benchmark: python -m benchmarks baseline STORE."""

import argparse
import json
from pathlib import Path

from benchmarks import baseline


def main() -> None:
    """Parse the arguments, run, and print one line of JSON last."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="benchmark")
    added = commands.add_parser("baseline", help="ten epochs of data against 150 s")
    added.add_argument("store", type=Path, metavar="STORE")
    options = parser.parse_args()
    print(json.dumps(baseline.run(options.store)))


if __name__ == "__main__":
    main()
