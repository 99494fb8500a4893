"""Measure galahstream.

Each benchmark prints a table, writes JSON and PNG into --out, and makes the
stores that it reads in --work, where they stay for the next one.
"""

import argparse
import inspect
from importlib import import_module
from pathlib import Path

from benchmarks.report import RESULTS, publish, write_readme_table

BENCHMARKS = {
    "throughput": ("throughput", "warm epochs against the kernel alone and plain PyTorch"),
    "peers": ("side_by_side", "warm epochs against other libraries"),
    "cold": ("cold", "epochs from a file that is not in memory, against raw reads"),
    "verification": (
        "verification",
        "first epochs, which check what they read, against later ones",
    ),
    "memory": ("memory", "a store larger than the page cache left to it"),
    "convert": ("convert", "conversion against cp and fsync"),
    "baseline": ("baseline", "the data of ten epochs against 150 s"),
    "twins": ("twins", "training on 16-bit flux against training on float32"),
    "startup": ("startup", "imports and the first batch"),
}


def main() -> None:
    """Parse the arguments, run a benchmark and publish its result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: galahstream mock raw && python -m benchmarks throughput raw",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="benchmark", dest="benchmark")
    for name, (module, text) in BENCHMARKS.items():
        added = commands.add_parser(name, help=text)
        added.add_argument("source", type=Path, metavar="SOURCE", help="folder of a survey's pair")
        added.add_argument("--work", type=Path, default=Path("demo/benchmarks"), help="for stores")
        added.add_argument("--out", type=Path, default=RESULTS, help="for results")
        run = import_module(f"benchmarks.{module}").run
        parameters = inspect.signature(run).parameters
        for option, meaning in (
            ("rounds", "how often each is measured"),
            ("times", "repeat the survey so many times"),
            ("epochs", "of training"),
        ):
            if option in parameters:
                default = parameters[option].default
                added.add_argument(
                    f"--{option}", type=int, default=default, help=f"{meaning} ({default})"
                )
    commands.add_parser("readme", help="write the README's table from the kept results")
    options = vars(parser.parse_args())
    name = options.pop("benchmark")
    if name == "readme":
        write_readme_table()
        return
    out = options.pop("out")
    options["work"].mkdir(parents=True, exist_ok=True)
    publish(import_module(f"benchmarks.{BENCHMARKS[name][0]}").run(**options), out)


if __name__ == "__main__":
    main()
