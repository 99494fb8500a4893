"""Measure galahstream.

Each benchmark prints a table and writes JSON and PNG into --out. The stores that
it reads are made in --work, where they stay for the next benchmark.
"""

import argparse
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from benchmarks.protocol import Result
from benchmarks.report import RESULTS, draw_bars, publish
from benchmarks.tables import write_tables


class Benchmark(NamedTuple):
    """A module with a function `run`, and one line of help."""

    module: str
    help: str

    @property
    def run(self) -> Callable[..., Result]:
        """The function that measures."""
        run: Callable[..., Result] = import_module(f"benchmarks.{self.module}").run
        return run

    @property
    def draw(self) -> Callable[[Result, Path], None]:
        """The function that draws the result: bars, if the module has none of its own."""
        own: Callable[[Result, Path], None] | None
        own = getattr(import_module(f"benchmarks.{self.module}"), "draw", None)
        return own or draw_bars


BENCHMARKS = {
    "throughput": Benchmark(
        "throughput", "warm epochs, against the kernel alone and plain PyTorch"
    ),
    "peers": Benchmark("side_by_side", "warm epochs, against other libraries"),
    "cold": Benchmark("cold", "epochs of a file that is not in memory, against raw reads"),
    "verification": Benchmark(
        "verification", "first epochs, which verify what they read, against later ones"
    ),
    "collections": Benchmark("collections", "a collection of 200 stores, against one store"),
    "million": Benchmark("million", "a collection of a million stars: opening, order, memory"),
    "memory": Benchmark("memory", "a store larger than the page cache left to it"),
    "convert": Benchmark("convert", "conversion, against cp and fsync"),
    "ingest": Benchmark("ingest", "conversion of FITS files, against fitsio and astropy"),
    "baseline": Benchmark("baseline", "the data of ten epochs, against 150 s; private memory"),
    "twins": Benchmark("twins", "training on 16-bit flux, against training on float32"),
    "experiments": Benchmark(
        "experiments", "the published experiments on rates, batches and epochs, on this network"
    ),
    "training": Benchmark("training", "steps of training, against the published script"),
    "startup": Benchmark("startup", "imports and the first batch"),
}
_OPTIONS = {
    "rounds": "number of measurements of each contender",
    "times": "repeat the survey N times",
    "epochs": "epochs of training",
    "stars": "number of synthetic stars, 0.7 MB each",
}


def main() -> None:
    """Parse the arguments, run a benchmark and publish its result."""
    options = vars(_parser().parse_args())
    name = options.pop("benchmark")
    if name == "readme":
        try:
            write_tables()
        except ValueError as error:
            sys.exit(f"benchmarks: {error}")
        return
    out = options.pop("out")
    options["work"].mkdir(parents=True, exist_ok=True)
    benchmark = BENCHMARKS[name]
    publish(benchmark.run(**options), out, benchmark.draw)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: galahstream mock raw && python -m benchmarks throughput raw",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="benchmark", dest="benchmark")
    for name, benchmark in BENCHMARKS.items():
        added = commands.add_parser(name, help=benchmark.help)
        added.add_argument("source", type=Path, metavar="SOURCE", help="folder with spectra.npy")
        added.add_argument(
            "--work", type=Path, default=Path("demo/benchmarks"), help="folder for stores"
        )
        added.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
        parameters = inspect.signature(benchmark.run).parameters
        for option, meaning in _OPTIONS.items():
            if option not in parameters:
                continue
            default = parameters[option].default
            added.add_argument(
                f"--{option}",
                type=int,
                default=default,
                metavar="N",
                help=f"{meaning} (default: {default})",
            )
    commands.add_parser(
        "readme", help="write the tables of README.md and docs/performance.md from the results"
    )
    return parser


if __name__ == "__main__":
    main()
