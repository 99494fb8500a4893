"""What objects show of themselves in a notebook."""

from html.parser import HTMLParser
from typing import Any

import pytest

import galahstream as gs
from galahstream.learn.results import TrainingResult
from galahstream.store import Store


class Cells(HTMLParser):
    """The texts of a table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(thing: Any) -> str:
    cells = Cells(thing._repr_html_())
    assert cells.tags[0] == "table"
    assert "script" not in cells.tags
    return " | ".join(cells.texts)


def test_a_store_a_dataset_and_a_loader_are_tables(npy_store: Store) -> None:
    text = shown(npy_store)
    assert "60 (42 train, 9 val, 9 test)" in text
    assert "teff [K]" in text
    assert "mapped: fits in memory" in text
    dataset = gs.SpectraDataset(npy_store)
    assert "42 of 'train'" in shown(dataset)
    assert "LogFlux(floor=0.2, fill=1.0)" in shown(dataset)
    with gs.SpectraLoader(dataset, 8, shuffle=True) as loader:
        assert "6 per epoch, of 8" in shown(loader)
        assert "shuffled, seed 42" in shown(loader)


@pytest.mark.slow
def test_a_run_and_its_model_are_tables(run: TrainingResult) -> None:
    assert "4 epochs" in shown(run)
    assert f"{run.test[0].rmse:.4g}" in shown(run)
    assert "teff [K]" in shown(run.model)
    assert "reference" in shown(run.model)
