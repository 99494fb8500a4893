"""The pages for developers name files that exist, and the checks that are run."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "galahstream"
PAGES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs" / "architecture.md",
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]


def named_files(page: Path) -> list[str]:
    """Return what a page names in backticks as a file or a folder of the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = re.findall(r"`([\w./-]+)`", text)
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    roots = rooms | {"galahstream", "tests", "benchmarks", "scripts", "docs", "data"}
    return [name for name in names if "/" in name and name.split("/")[0] in roots]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    names = named_files(page)
    missing = [name for name in names if not ((ROOT / name).exists() or (PACKAGE / name).exists())]
    assert not missing


@pytest.mark.slow
def test_every_function_on_the_ways_of_a_spectrum_is_defined() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\| \d+\. .*?\| (.*?) \|", text, flags=re.MULTILINE)
    names = re.findall(r"`(?:\w+\.)?(\w+)`", " ".join(steps))
    assert len(steps) > 20
    assert [n for n in names if not re.search(rf"\b(?:def|class) {n}\b", source)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links)


def test_the_index_of_decisions_lists_every_page() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_the_diagram_of_imports_shows_the_layers_that_are_checked() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (diagram,) = re.findall(r"```text\n(cli .*?)```", text, flags=re.DOTALL)
    layers = [re.split(r"\s{2,}", line)[0] for line in diagram.splitlines()]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert layers == next(item["layers"] for item in contracts if item["type"] == "layers")


def test_pre_commit_runs_the_checks_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    checks = re.findall(r"^\t\$\(BIN\)/(.*)$", recipe, flags=re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"exec (.*)'$", hooks, flags=re.MULTILINE)) == sorted(checks)
