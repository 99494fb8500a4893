import os
from pathlib import Path

import pytest

from galahstream.errors import ExtraMissingError, OptionError
from galahstream.plots import figures


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")],
)
def test_the_suffix_chooses_the_format(tmp_path: Path, name: str, start: bytes) -> None:
    figures.save_figure(figures.new_figure(1, 1), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz", ".png"])
def test_other_suffixes_are_refused_naming_the_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"expected one of \.png, \.pdf, \.svg"):
        figures.save_figure(figures.new_figure(1, 1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_a_suffix_gets_png() -> None:
    assert figures.figure_format(Path(os.devnull)) == "png"
    figures.save_figure(figures.new_figure(1, 1), Path(os.devnull))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "has_matplotlib", lambda: False)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[plots\]"):
        figures.new_figure(1, 1)
