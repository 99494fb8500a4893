"""The words of CONTRIBUTING.md: comments, docstrings, messages and pages use the standard terms."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPLACEMENTS = {
    r"anew": "again, from scratch",
    r"(?:go|goes|going|gone|went) on (?:with|where|from|in)": "resume, continue",
    r"cut off": "interrupted, truncated",
    r"in silence": "silently",
    r"from [01] up": "at least 0, at least 1",
    r"so many": "N, the number of",
    r"(?<!there )(?:is|are) no (?!longer|more|less|other|such)\w+": "is not a",
    r"(?:rows?|stars?|bytes|batches|one) a (?:batch|chunk|block|core|second(?! time)|epoch|file)":
        "per",
    r"(?:published|written|replaced|appears?|moved) whole": "atomically, completely",
    r"left out": "skipped, omitted",
    r"(?:lets?|letting) go of": "release, close",
    r"for ever": "forever",
    r"sound (?:rows?|blocks?|cop(?:y|ies)|stores?|files?)": "intact",
    r"(?:crews?|makers?|workshops?)": "worker pool, worker, staging area",
}  # fmt: skip
SLIP = re.compile("|".join(rf"(?P<p{i}>\b{p}\b)" for i, p in enumerate(REPLACEMENTS)), re.I)
# The glossary and this table name the words that are not used.
EXEMPT = {ROOT / "CONTRIBUTING.md", Path(__file__)}
TEXTS = sorted(
    path
    for folder in ("galahstream", "benchmarks", "scripts", "tests", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md")
) + [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "data/README.md")]


def slips(text: str) -> list[str]:
    """Return each word to replace, with its line and the words to use instead."""
    advice = list(REPLACEMENTS.values())
    return [
        f"line {text.count(chr(10), 0, slip.start()) + 1}: {' '.join(slip.group().split())!r} "
        f"(write: {advice[int((slip.lastgroup or 'p0')[1:])]})"
        for slip in SLIP.finditer(text)
    ]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_text_uses_the_standard_terms(path: Path) -> None:
    if path in EXEMPT:
        pytest.skip("names the words that are not used")
    assert slips(path.read_text(encoding="utf-8")) == []


def test_a_slip_is_reported_with_its_line_and_what_to_write() -> None:
    text = "Rows are read\nanew, so\nmany of them. There is no harm in that."
    assert slips(text) == [
        "line 2: 'anew' (write: again, from scratch)",
    ]
    assert len(slips("It is no array; rows a chunk, from 1 up")) == 3
