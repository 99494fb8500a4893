"""``galahstream plot``: one star with what is known of it, or the Kiel diagram of all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.sources.memory import MemorySource
from galahstream.survey.provenance import Provenance
from galahstream.survey.wavelength import NOMINAL_PIXELS, nominal_grid
from tests.conftest import Pair

LABELS = {
    "teff": np.linspace(4500, 6500, 20),
    "logg": np.linspace(2, 5, 20),
    "fe_h": np.linspace(-1, 0.4, 20),
}
MakeStore = Callable[..., str]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(provenance: Provenance, labels: Any = LABELS, wavelength: Any = None) -> str:
        class Stars(MemorySource):
            pass

        Stars.provenance = provenance  # type: ignore[assignment,method-assign]
        Stars.wavelength = wavelength  # type: ignore[method-assign]
        n_pixels = NOMINAL_PIXELS if wavelength is None else len(wavelength)
        source = Stars(np.ones((20, n_pixels), dtype=np.float32), labels)
        return str(convert(source, tmp_path / "store").path)

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the arguments of each spectrum that is drawn."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "galahstream.plots.spectrum.plot_spectrum", lambda *_, **options: calls.append(options)
    )
    return calls


GRID = nominal_grid()[:64]


@pytest.mark.parametrize(
    ("provenance", "wavelength", "note"),
    [
        (Provenance(), None, "nominal wavelength: each star is off by up to 2.7 Å"),
        (Provenance(frame="observed"), None, "nominal wavelength"),
        (Provenance(), GRID, ""),
        (Provenance(frame="rest", grid="hermes"), GRID, "rest frame"),
        (Provenance(frame="rest"), GRID, "rest frame"),
        (Provenance(frame="observed", grid="hermes"), GRID, "observed frame: lines are shifted"),
    ],
)
def test_the_caption_says_how_true_the_wavelengths_are(
    make_store: MakeStore,
    drawn: list[dict[str, Any]],
    provenance: Provenance,
    wavelength: Any,
    note: str,
) -> None:
    assert main(["plot", make_store(provenance, wavelength=wavelength), "--row", "3"]) == 0
    assert drawn[0]["note"].startswith(note)
    assert bool(drawn[0]["note"]) == bool(note)
    assert drawn[0]["error"] is None


def test_errors_of_a_store_are_drawn(
    pair: Pair, tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    store = convert(pair.with_errors, tmp_path / "store")
    assert main(["plot", str(store.path), "--row", "7"]) == 0
    assert store.error is not None
    np.testing.assert_array_equal(drawn[0]["error"], store.error[7])


@pytest.mark.slow
def test_the_kiel_diagram_of_a_store_is_drawn(
    make_store: MakeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {**LABELS, "teff": np.where(np.arange(20) < 2, np.nan, LABELS["teff"])}
    out = tmp_path / "kiel.png"
    assert main(["plot", make_store(Provenance(), labels, GRID), "--kiel", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 18 of 20 stars\n"
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", [["--row", "0"], ["--out", "a.png"]])
def test_the_kiel_diagram_is_of_all_stars(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    path = make_store(Provenance(), wavelength=GRID)
    assert main(["plot", path, "--kiel", "kiel.png", *option]) == 1
    assert "without --row and --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"teff": LABELS["teff"], "fe_h": LABELS["fe_h"]}, "no label 'logg'; the Kiel diagram"),
        (None, "no label 'teff'"),
    ],
)
def test_a_store_without_the_labels_has_no_kiel_diagram(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str], labels: Any, message: str
) -> None:
    path = make_store(Provenance(), labels, GRID)
    assert main(["plot", path, "--kiel", "kiel.png"]) == 1
    assert message in capsys.readouterr().err


def test_labels_in_another_unit_are_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.stack(list(LABELS.values()), axis=1)
    flux = np.ones((20, 8), dtype=np.float32)
    store = convert((flux, labels), tmp_path / "store", labels=["teff[kK]", "logg", "fe_h"])
    assert main(["plot", str(store.path), "--kiel", "kiel.png"]) == 1
    assert "'teff' in kK, and the Kiel diagram needs K" in capsys.readouterr().err


def test_the_kiel_diagram_is_not_written_into_the_store(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_store(Provenance(), wavelength=GRID)
    assert main(["plot", path, "--kiel", f"{path}/flux.npy"]) == 1
    assert "choose another file (--kiel)" in capsys.readouterr().err
