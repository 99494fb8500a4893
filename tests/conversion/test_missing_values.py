"""Label values that stand for a missing one: named by the user, or found and reported."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.repair import repair
from galahstream.errors import LabelError
from galahstream.sources.base import Source
from galahstream.store import open_store
from tests.conftest import N_STARS, Pair

TEFF, FE_H = 4, 6


def mark(pair: Pair) -> Pair:
    """Give some stars of a pair fill values."""
    pair.labels[5:9, TEFF], pair.labels[20:22, TEFF] = -9999, 999999
    pair.labels[30:33, FE_H] = np.float32(1e20)
    np.save(pair.folder / "labels.npy", pair.labels)
    return pair


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_named_values_are_missing_from_labels_and_statistics(
    pair: Pair, tmp_path: Path, format: Any
) -> None:
    mark(pair)
    store = convert(
        pair.folder, tmp_path / "store", format=format, missing_values=(-9999, 999999, 1e20)
    )
    is_missing = np.zeros((N_STARS, 8), dtype=bool)
    is_missing[5:9, TEFF] = is_missing[20:22, TEFF] = is_missing[30:33, FE_H] = True
    expected = np.where(is_missing, np.nan, pair.labels)[store.source_row]
    assert np.array_equal(np.stack([*store.labels.values()], axis=1), expected, equal_nan=True)
    info = store.info()
    assert [info["labels"][name]["missing"] for name in ("teff", "fe_h", "logg")] == [6, 3, 0]
    assert info["labels"]["teff"]["std"] < 1000
    assert info["missing_values"] == [-9999.0, 999999.0, 1e20]
    assert info["likely_fill_values"] == []
    with pytest.raises(LabelError, match="teff"):
        gs.SpectraDataset(store, split="all")
    assert len(gs.SpectraDataset(store, split="all", missing="drop")) == N_STARS - 9


def test_values_that_nobody_named_are_reported_by_convert_and_info(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark(pair)
    store = str(tmp_path / "store")
    assert main(["convert", str(pair.folder), store]) == 0
    printed = capsys.readouterr().out
    assert "warning     teff: -9999 in 4 rows looks like a missing value\n" in printed
    assert "warning     teff: 999999 in 2 rows looks like a missing value\n" in printed
    advice = f"--missing-values -9999 999999 {float(np.float32(1e20))!r}"
    assert f"warning     if so, convert again with {advice} (missing_values=)" in printed
    assert main(["info", store]) == 0
    assert capsys.readouterr().out == printed
    assert main(["info", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["likely_fill_values"] == [
        {"label": "teff", "value": -9999.0, "rows": 4},
        {"label": "teff", "value": 999999.0, "rows": 2},
        {"label": "fe_h", "value": float(np.float32(1e20)), "rows": 3},
    ]
    assert main(["convert", str(pair.folder), store, "--overwrite", *advice.split()]) == 0
    printed = capsys.readouterr().out
    assert "warning" not in printed
    assert "missing     label values -9999, 999999, 1.00000002" in printed


@pytest.mark.parametrize(
    "value", [-1e20, -9.969209968386869e36, -999.0, -32768.0, -float(np.finfo(np.float32).max)]
)
def test_the_advice_can_be_typed_as_it_is_printed(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    pair.labels[5:9, TEFF] = value
    np.save(pair.folder / "labels.npy", pair.labels)
    arguments = ["convert", str(pair.folder), str(tmp_path / "store"), "--overwrite"]
    assert main(arguments) == 0
    advice = capsys.readouterr().out.partition("convert again with ")[2].partition(" (")[0].split()
    assert main([*arguments, *advice]) == 0
    assert "4 missing" in capsys.readouterr().out
    with open_store(tmp_path / "store") as store:
        assert np.isnan(store.labels["teff"]).sum() == 4


def test_a_path_behind_the_values_is_named_with_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--missing-values", "-9999", "raw", "store"])
    assert "'raw' is not a number; give the paths before this option" in capsys.readouterr().err


def test_ordinary_labels_are_reported_by_nobody(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(pair.folder), str(tmp_path / "store")]) == 0
    assert "warning" not in capsys.readouterr().out


def test_groups_and_ids_keep_a_named_value(tmp_path: Path, pair: Pair) -> None:
    """They are not labels: a group is missing nowhere, and its integers stay integers."""
    field = np.arange(N_STARS) // 4
    field[:8] = -9999
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["flux"], file["teff"] = pair.spectra, np.where(field < 0, -9999.0, pair.labels[:, 4])
        file["field"], file["ids"] = field, np.arange(N_STARS) - 9999
    store = convert(tmp_path / "in.h5", tmp_path / "store", groups="field", missing_values=[-9999])
    assert np.array_equal(np.sort(store.ids), np.arange(N_STARS) - 9999)
    assert len(set(store.split[field[store.source_row] == -9999])) == 1
    assert np.isnan(store.labels["teff"]).sum() == np.isnan(store.labels["field"]).sum() == 8


def test_a_value_whose_statistics_overflow_is_named_with_the_option(
    pair: Pair, tmp_path: Path
) -> None:
    pair.labels[5:9, TEFF] = np.finfo(np.float64).max
    np.save(pair.folder / "labels.npy", pair.labels)
    with pytest.raises(LabelError, match=r"'teff' cannot be stored: .*--missing-values"):
        convert(pair.folder, tmp_path / "store")
    convert(pair.folder, tmp_path / "store", missing_values=[np.finfo(np.float64).max])


def test_a_repaired_store_keeps_what_was_missing(pair: Pair, tmp_path: Path) -> None:
    mark(pair)
    store = convert(pair.folder, tmp_path / "store", missing_values=(-9999, 999999, 1e20))
    data = bytearray((tmp_path / "store" / "flux.npy").read_bytes())
    data[4096 + 17 * 256] ^= 4
    (tmp_path / "store" / "flux.npy").write_bytes(data)
    assert repair(tmp_path / "store", pair.folder).tolist() == [17]
    with open_store(tmp_path / "store") as repaired:
        assert repaired.fingerprint == store.fingerprint
        assert np.isnan(repaired.labels["teff"]).sum() == 6


class GivenLabels(Source):
    """A source of the user's own, with labels of any kind."""

    name, n_pixels, label_names = "mine", 4, ("teff",)

    def __init__(self, labels: Any) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        for row in range(first_row, len(self), block_rows):
            yield np.ones((min(block_rows, len(self) - row), 4), dtype=np.float32)

    def read_labels(self) -> npt.NDArray[np.float64]:
        labels: npt.NDArray[np.float64] = self._labels
        return labels


def test_masked_labels_of_a_source_are_missing(tmp_path: Path) -> None:
    labels = np.ma.MaskedArray(np.arange(20.0)[:, None], mask=np.arange(20)[:, None] == 7)
    store = convert(GivenLabels(labels), tmp_path / "store")
    assert store.source_row[np.isnan(store.labels["teff"])].tolist() == [7]


def test_labels_of_a_source_with_a_unit_of_their_own_are_named(tmp_path: Path) -> None:
    units = pytest.importorskip("astropy.units")
    labels = np.arange(20.0)[:, None] * units.Unit("kK")
    with pytest.raises(LabelError, match=r"mine: its labels are in 'kK'; .* label_units"):
        convert(GivenLabels(labels), tmp_path / "store")


def test_wavelengths_that_can_hardly_be_angstrom_are_reported(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values alone prove nothing, unlike a unit: they are reported, and not rejected."""
    store = str(tmp_path / "store")
    for grid, is_doubtful in (
        (np.linspace(471.3, 789, 64), True),
        (np.linspace(4713, 7890, 64), False),
    ):
        np.save(pair.folder / "wavelength.npy", grid)
        assert main(["convert", str(pair.folder), store, "--overwrite"]) == 0
        assert ("if the wavelengths are in nm or µm" in capsys.readouterr().out) == is_doubtful


def test_a_quantity_and_a_dataset_are_given_as_wavelengths(pair: Pair, tmp_path: Path) -> None:
    units = pytest.importorskip("astropy.units")
    grid = np.linspace(4713, 7890, 64)
    store = convert(pair.folder, tmp_path / "a", wavelength=grid / 10 * units.nm)
    assert store.wavelength == pytest.approx(grid)
    assert gs.SpectraDataset(store, window=[500, 600] * units.nm).window == (5000.0, 6000.0)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["grid"] = np.arange(64, dtype=np.int16)
        file["grid"].attrs.update(units="micron", scale_factor=0.005, add_offset=0.4713)
        store = convert(pair.folder, tmp_path / "b", wavelength=file["grid"])
    assert store.wavelength == pytest.approx(4713 + 50 * np.arange(64))
