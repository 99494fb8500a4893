"""Print a result, and keep it as JSON and as a picture."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from benchmarks.machine import ROOT, Code, Machine
from benchmarks.protocol import Ratio, Result, median

RESULTS = ROOT / "benchmarks" / "results"


Draw: TypeAlias = Callable[[Result, Path], None]


def publish(result: Result, folder: Path = RESULTS, draw: Draw | None = None) -> Path:
    """Print a result, write its JSON and its picture, and return the path of the JSON."""
    print(as_text(result))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.benchmark}.json"
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    (draw or draw_bars)(result, path.with_suffix(".png"))
    return path


def load_result(path: Path) -> Result:
    """Read a result that `publish` wrote."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Result(
        **{
            **fields,
            "ratios": tuple(Ratio(**ratio) for ratio in fields["ratios"]),
            "notes": tuple(fields["notes"]),
            "machine": Machine(**fields["machine"]),
            "code": Code(**fields["code"]),
        }
    )


def as_text(result: Result) -> str:
    """Return the table of a result."""
    machine = result.machine
    lines = [
        f"{result.title}, {machine.date}, {result.code}",
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gb} GB, "
        f"{machine.system}, Python {machine.python}",
        "",
    ]
    width = max(len(name) for name in result.figures)
    lines += [
        f"{name:{width}} {median(values):12,.6g}   {min(values):,.6g} to {max(values):,.6g} "
        f"{result.unit}"
        for name, values in result.figures.items()
    ]
    lines += ["", *(ratio_text(ratio) for ratio in result.ratios), *result.notes]
    return "\n".join(lines)


def ratio_text(ratio: Ratio) -> str:
    """Return one line: a ratio, its interval, its goal and whether that is reached."""
    goal = "" if ratio.goal is None else f", goal {ratio.goal:g}: {ratio.verdict}"
    return f"{ratio.name} over {ratio.over}: {ratio.interval}{goal}"


def draw_bars(result: Result, path: Path) -> None:
    """Draw the median of each contender as a bar, with the range of its rounds."""
    from galahstream.plots.figures import new_figure, save_figure

    names = list(result.figures)
    medians = [median(values) for values in result.figures.values()]
    ranges = [
        [middle - min(result.figures[name]) for name, middle in zip(names, medians, strict=True)],
        [max(result.figures[name]) - middle for name, middle in zip(names, medians, strict=True)],
    ]
    figure = new_figure(9, 1.2 + 0.32 * len(names))
    axes = figure.subplots()
    axes.barh(names, medians, xerr=ranges, color="tab:blue", ecolor="0.4")
    axes.invert_yaxis()
    axes.set_xlabel(result.unit)
    machine = result.machine
    axes.set_title(
        f"{result.title}\n{machine.processor}, {machine.cores} cores, {machine.date}, "
        f"{result.code}",
        fontsize=9,
    )
    save_figure(figure, path)
