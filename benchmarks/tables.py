"""The tables of README.md and docs/performance.md, written from the kept results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.memory import GLOBAL_PREAD, PLAIN
from benchmarks.protocol import Ratio, Result
from benchmarks.report import RESULTS, load_result
from benchmarks.side_by_side import OURS
from benchmarks.throughput import BEST, MAPPED, PUBLISHED, SIXTEEN_BIT

README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
# Losses of training are in no table of speeds.
_LOSSES = ("experiments", "twins")
_BEGIN, _END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


class MixedResultsError(ValueError):
    """The kept results were measured with different versions of the code."""


@dataclass(frozen=True)
class _Row:
    """A row of the README's table: a ratio of one benchmark, in users' words."""

    compared_with: str
    benchmark: str
    name: str
    over: str

    def ratio(self, results: Mapping[str, Result]) -> Ratio | None:
        ratios = results[self.benchmark].ratios if self.benchmark in results else ()
        matching = (ratio for ratio in ratios if (ratio.name, ratio.over) == (self.name, self.over))
        return next(matching, None)


_ROWS = (
    _Row("the published script, everything in memory", "throughput", BEST, PUBLISHED),
    _Row("a mapped `Dataset` in a `DataLoader`", "throughput", BEST, MAPPED),
    _Row("the same with a store larger than memory", "memory", GLOBAL_PREAD, PLAIN),
    _Row("16-bit flux instead of float32", "throughput", SIXTEEN_BIT, BEST),
)


def write_tables(
    folder: Path = RESULTS, readme: Path = README, performance: Path = PERFORMANCE
) -> None:
    """Replace the tables between the marks of README.md and docs/performance.md.

    Raises
    ------
    MixedResultsError
        If the results were not all measured with the same code.
    ValueError
        If a document lacks the marks, or there are no results.
    """
    paths = sorted(path for path in folder.glob("*.json") if path.stem not in _LOSSES)
    if not paths:
        msg = f"{folder} holds no results; run 'python -m benchmarks --help'"
        raise ValueError(msg)
    results = {path.stem: load_result(path) for path in paths}
    _check_same_code(results)
    measured = _measured_on(results.values())
    _replace(readme, [*_readme_table(results), "", measured])
    _replace(performance, [*_performance_table(results.values()), "", measured])


def _check_same_code(results: Mapping[str, Result]) -> None:
    files: dict[str, list[str]] = {}
    for name, result in results.items():
        files.setdefault(str(result.code), []).append(f"{name}.json")
    if len(files) > 1:
        measured = "; ".join(f"{', '.join(names)} at {code}" for code, names in files.items())
        msg = f"results of different code cannot share a table: {measured}; measure them again"
        raise MixedResultsError(msg)


def _readme_table(results: Mapping[str, Result]) -> list[str]:
    lines = ["| compared with | galahstream (95 % interval) |", "|---|---|"]
    for row in _ROWS:
        ratio = row.ratio(results)
        if ratio is not None:
            lines.append(f"| {row.compared_with} | {_times(ratio)} |")
    if "peers" in results:
        fastest = min(results["peers"].ratios, key=lambda ratio: ratio.median)
        assert fastest.name == OURS
        lines.append(f"| the fastest other library, {fastest.over} | {_times(fastest)} |")
    memory = results["baseline"].settings.get("private_mb") if "baseline" in results else None
    if memory is not None:
        ours, published = memory[OURS], memory[PUBLISHED]
        lines.append(
            f"| private memory of the process: {published:,.0f} MB in the published script | "
            f"{ours:,.0f} MB |"
        )
    return lines


def _times(ratio: Ratio) -> str:
    return f"{ratio.median:.3g} times as fast ({ratio.low:.3g} to {ratio.high:.3g})"


def _performance_table(results: Iterable[Result]) -> list[str]:
    lines = ["| measured | over | ratio (95 % interval) | goal |", "|---|---|---|---|"]
    for result in results:
        for ratio in result.ratios:
            if ratio.goal is None and result.benchmark != "peers":
                continue
            goal = "" if ratio.goal is None else f"{ratio.goal:g}, {ratio.verdict}"
            lines.append(
                f"| {result.title}: {ratio.name} | {ratio.over} | {ratio.interval} | {goal} |"
            )
    return lines


def _measured_on(results: Iterable[Result]) -> str:
    conditions = {
        f"{result.machine.processor}, {result.machine.cores} cores, {result.machine.date}, "
        f"{result.code}"
        for result in results
    }
    return f"Measured on {'; '.join(sorted(conditions))}."


def _replace(document: Path, lines: list[str]) -> None:
    before, _, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        msg = f"{document} lacks the lines {_BEGIN} and {_END}"
        raise ValueError(msg)
    text = "\n".join([f"{before}{_BEGIN}", *lines, f"{_END}{after}"])
    document.write_text(text, encoding="utf-8")
