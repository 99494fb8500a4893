"""Reports: one page that needs nothing else, about a run or a store."""

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import CheckpointError, OptionError, SourceMissingError
from galahstream.learn.results import TrainingResult
from galahstream.store import Store
from tests.browser import headless_browser
from tests.conftest import Pair, make_pair

OUTSIDE = re.compile(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""")


class Page(HTMLParser):
    """The headings, pictures and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.headings: list[str] = []
        self.alternatives: list[str | None] = []
        self.words: list[str] = []
        self._tag = ""
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "img":
            self.alternatives.append(dict(attrs).get("alt"))

    def handle_data(self, data: str) -> None:
        if self._tag in ("h1", "h2"):
            self.headings.append(data.strip())
        if self._tag != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def nll_run(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    folder = tmp_path_factory.mktemp("report")
    store = gs.convert(make_pair(folder / "raw", stars=100).folder, folder / "a store & more")
    return gs.train(
        store, folder / "runs" / "<first>", epochs=2, loss="nll", model="compact", device="cpu"
    )


@pytest.mark.slow
def test_the_page_of_a_run_says_how_good_it_is_and_how_to_repeat_it(
    nll_run: TrainingResult, tmp_path: Path
) -> None:
    page = Page(gs.write_report(nll_run.out, tmp_path / "report.html"))
    assert page.headings[0] == "Run <first>"
    assert not OUTSIDE.search(page.source.replace("galahstream[plots]", ""))
    for label in nll_run.test:
        assert f"{label.name} {label.unit} 15 {label.rmse:.4g}" in page.text
    assert len(page.alternatives) == 6
    assert all(page.alternatives)
    assert nll_run.record.data.fingerprint in page.text
    assert nll_run.record.command is not None
    assert nll_run.record.command in page.text
    assert f"torch {nll_run.record.environment['torch']}" in page.text
    for heading in ("Uncertainties", "Epochs", "Data", "Settings", "Environment"):
        assert heading in page.headings


@pytest.mark.slow
def test_the_command_of_a_report_repeats_the_run(
    nll_run: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nll_run.record.command is not None
    words = shlex.split(nll_run.record.command)
    assert words[0] == "galahstream"
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert main([*words[1:], "--json"]) == 0
    repeated = json.loads(capsys.readouterr().out)
    assert repeated["test_loss"] == nll_run.test_loss


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_browser_shows_the_page_at_any_width_without_an_error(
    nll_run: TrainingResult, tmp_path: Path, width: int, dark: bool
) -> None:
    page = gs.write_report(nll_run.out, tmp_path / "report.html")
    with headless_browser(width, dark=dark) as browser:
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        widths = browser.execute_script(
            "return [...document.images].map(image => image.complete && image.naturalWidth)"
        )
        assert len(widths) == 6
        assert min(widths) > 100
        background = browser.execute_script(
            "return getComputedStyle(document.body).backgroundColor"
        )
        assert background == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")


def test_the_page_of_a_store_says_what_it_holds(npy_store: Store, tmp_path: Path) -> None:
    page = Page(gs.write_report(npy_store.path, tmp_path / "store.html"))
    assert not OUTSIDE.search(page.source)
    assert "60 stars" in page.text
    assert npy_store.fingerprint in page.text
    assert "1 nan, 1 infinite, 1 negative, 1 zero" in page.text
    for name in npy_store.labels:
        assert name in page.text
    assert len(page.alternatives) == 4
    assert f"star {npy_store.ids[int(np.argmin(npy_store.labels['mass']))]}" in page.text


def test_a_store_without_labels_and_one_star_has_a_page(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.ones((2, 8), np.float32))
    gs.convert(tmp_path / "one.npy", tmp_path / "store")
    page = Page(gs.write_report(tmp_path / "store", tmp_path / "store.html"))
    assert "no labels" in page.text
    assert len(page.alternatives) == 2


@pytest.mark.slow
def test_without_matplotlib_the_page_says_what_to_install(
    npy_store: Store, tmp_path: Path, without_pictures: None
) -> None:
    page = Page(gs.write_report(npy_store.path, tmp_path / "store.html"))
    assert "pip install 'galahstream[plots]'" in page.text
    run = gs.train(npy_store, tmp_path / "run", epochs=1, device="cpu", model="compact")
    page = Page(gs.write_report(run.out, tmp_path / "run.html"))
    assert "pip install 'galahstream[plots]'" in page.text
    assert page.alternatives == []


def test_a_path_that_holds_neither_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="nothing"):
        gs.write_report(tmp_path / "nothing", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_run_that_is_not_finished_is_an_error_that_says_how_to_finish_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").touch()
    with pytest.raises(SourceMissingError, match=r"run --resume"):
        gs.write_report(tmp_path / "run", tmp_path / "report.html")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", "metrics.json is not of a run of galahstream"),
        ("metrics.json", '{"test": 3}', "field"),
        ("metrics.json", '{"test": {"teff": {"rmse": "<script>"}}}', "field"),
        ("history.csv", "epoch,train_loss\n1,much\n", "history.csv is not of a run"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    nll_run: TrainingResult, tmp_path: Path, name: str, content: str, message: str
) -> None:
    shutil.copytree(nll_run.out, tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        gs.write_report(tmp_path / "run", tmp_path / "report.html")


@pytest.mark.slow
def test_a_run_of_an_early_version_has_a_page(nll_run: TrainingResult, tmp_path: Path) -> None:
    shutil.copytree(nll_run.out, tmp_path / "run")
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["record"]
    path.write_text(json.dumps(metrics))
    page = Page(gs.write_report(tmp_path / "run", tmp_path / "report.html"))
    assert "not recorded by this early version" in page.text


def test_a_page_never_replaces_a_file_of_the_store(npy_store: Store) -> None:
    for name in ("flux.npy", "report.html"):
        with pytest.raises(OptionError, match="choose another file"):
            gs.write_report(npy_store.path, npy_store.path / name)
    assert npy_store.verify().size == 0


def test_the_command_says_where_the_page_is(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gs.convert(pair.folder, "store").close()
    assert main(["report", "store"]) == 0
    assert capsys.readouterr().out == "report.html: report of store\n"
    assert Page(tmp_path / "report.html").headings[0] == "Store store"
