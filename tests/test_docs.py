import re
from pathlib import Path

import pytest

from tests.conftest import Pair

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pair.folder.parent)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(example, {})
    assert "torch.Size([32, 64])" in capsys.readouterr().out


def test_the_pictures_of_the_readme_are_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text()):
        assert (README.parent / picture).is_file()
