"""Printing what was found, keeping it as JSON and as a picture, and the README's table."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.protocol import Ratio, Result, median

RESULTS = Path(__file__).parent / "results"
_README = Path(__file__).parents[1] / "README.md"
_BEGIN, _END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def publish(result: Result, folder: Path = RESULTS) -> Path:
    """Print a result, and write its JSON and its picture; return the path of the JSON."""
    print(as_text(result))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.benchmark}.json"
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    draw(result, path.with_suffix(".png"))
    return path


def as_text(result: Result) -> str:
    """Return the table of a result."""
    machine = result.machine
    lines = [
        f"{result.title}, {machine['date']}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}",
        "",
    ]
    width = max(len(name) for name in result.figures)
    lines += [
        f"{name:{width}} {median(values):12,.6g}   {min(values):,.6g} to {max(values):,.6g} "
        f"{result.unit}"
        for name, values in result.figures.items()
    ]
    lines += ["", *(ratio_text(found) for found in result.ratios), *result.notes]
    return "\n".join(lines)


def ratio_text(found: Ratio) -> str:
    """Return one line: a ratio, its interval, and what was wanted."""
    wanted = "" if found.wanted is None else f", wanted {found.wanted:g}: {found.verdict}"
    return (
        f"{found.name} over {found.over}: {found.median:.3g} ({found.low:.3g} to "
        f"{found.high:.3g}){wanted}"
    )


def draw(result: Result, path: Path) -> None:
    """Draw the median of each contender as a bar, with the range of its rounds."""
    from galahstream.plots.figures import new_figure, save_figure

    names = list(result.figures)
    middles = [median(values) for values in result.figures.values()]
    ranges = [
        [middle - min(result.figures[name]) for name, middle in zip(names, middles, strict=True)],
        [max(result.figures[name]) - middle for name, middle in zip(names, middles, strict=True)],
    ]
    figure = new_figure(9, 1.2 + 0.32 * len(names))
    axes = figure.subplots()
    axes.barh(names, middles, xerr=ranges, color="tab:blue", ecolor="0.4")
    axes.invert_yaxis()
    axes.set_xlabel(result.unit)
    machine = result.machine
    axes.set_title(
        f"{result.title}\n{machine['processor']}, {machine['cores']} cores, {machine['date']}",
        fontsize=9,
    )
    save_figure(figure, path)


def write_readme_table(folder: Path = RESULTS) -> None:
    """Replace the table between the README's two marks by what was to be reached, and the peers."""
    results: list[dict[str, Any]] = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    ]
    lines = ["| measured | over | ratio (interval) | wanted |", "|---|---|---|---|"]
    for result in results:
        for found in (Ratio(**fields) for fields in result["ratios"]):
            if found.wanted is None and result["benchmark"] != "peers":
                continue
            wanted = "" if found.wanted is None else f"{found.wanted:g}, {found.verdict}"
            lines.append(
                f"| {result['title']}: {found.name} | {found.over} | {found.median:.3g} "
                f"({found.low:.3g} to {found.high:.3g}) | {wanted} |"
            )
    machines = {
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']}"
        for machine in (result["machine"] for result in results)
    }
    table = "\n".join([*lines, "", f"Measured on {'; '.join(sorted(machines))}."])
    text = _README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, found_end, after = rest.partition(_END)
    if not found_end:
        msg = f"{_README} lacks the lines {_BEGIN} and {_END}"
        raise ValueError(msg)
    _README.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")
