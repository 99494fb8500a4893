"""The documents: every example in Python runs, every picture and every link leads somewhere."""

import re
from pathlib import Path

import pytest

import galahstream
from tests.conftest import Pair

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "data/*.md", "galahstream/**/*.md")
    for path in ROOT.glob(pattern)
)
EXAMPLES = [
    pytest.param(example, id=f"{path.relative_to(ROOT)}-{number}")
    for path in DOCUMENTS
    for number, example in enumerate(
        re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pair.folder.parent)
    exec(compile(example, "example", "exec"), {})


def test_the_example_of_the_readme_prints_the_shape_of_a_batch(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pair.folder.parent)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "torch.Size([32, 64])" in capsys.readouterr().out


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_picture_of_a_document_is_there(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (document.parent / target.partition("#")[0]).exists(), target


def test_the_documents_name_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (document, target)


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\.\. auto\w+:: galahstream\.(\w+)$", page, flags=re.MULTILINE))
    assert named == set(galahstream.__all__) - {"__version__"}


def test_every_document_is_in_the_navigation() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for document in (ROOT / "docs").rglob("*.md"):
        name = document.relative_to(ROOT / "docs").with_suffix("").as_posix()
        in_navigation = name in index.split() or name.startswith("decisions/0")
        assert in_navigation or name in ("index", "reference/commands"), name
