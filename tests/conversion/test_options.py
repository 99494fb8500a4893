"""Options of a conversion: what is accepted, what raises, and what they become."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.errors import LabelError, OptionError, SplitError, WavelengthError
from galahstream.store.quantization import Float32, Quantized16
from tests.conftest import Pair


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"split": (0.7, 0.2, 0.2)}, SplitError, "sums to 1.1"),
        ({"split": (0.99, 0.001, 0.009)}, SplitError, "'val'"),
        ({"format": "zarr"}, OptionError, "zarr"),
        ({"dtype": "int8"}, OptionError, "int8"),
        ({"compression": "gzip"}, OptionError, "HDF5"),
        ({"jobs": 0}, OptionError, "jobs=, --jobs"),
        ({"jobs": 2.5}, OptionError, "jobs"),
        ({"seed": -1}, SplitError, "seed"),
        ({"seed": 2**64}, SplitError, "seed"),
        ({"split": "most"}, SplitError, "most"),
        ({"groups": 3}, OptionError, "groups 3"),
        ({"format": "hdf5", "compression": "zip"}, OptionError, "zip"),
        ({"dtype": "uint16", "flux_range": (1, 2, 3)}, OptionError, "flux_range"),
        ({"dtype": "uint16", "flux_range": "wide"}, OptionError, "flux_range"),
        ({"flux_range": (0, 2)}, OptionError, "dtype"),
        ({"dtype": "uint16", "flux_range": (2, 0)}, OptionError, "rising"),
        ({"format": "hdf5", "chunk_rows": 0}, OptionError, "chunk_rows=, --chunk-rows"),
        ({"on_bad": "hide"}, OptionError, "hide"),
        ({"labels": ["a", "a"]}, LabelError, "twice"),
        ({"labels": ["vsini"]}, LabelError, "'vsini'"),
        ({"labels": ["a b"]}, LabelError, "cannot be read"),
        ({"groups": "field"}, LabelError, "'field'"),
        ({"wavelength": [1.0, 2.0]}, WavelengthError, "shape"),
        ({"missing_values": "-9999"}, OptionError, "missing_values '-9999'"),
        ({"missing_values": ["-9999"]}, OptionError, "--missing-values -9999"),
        ({"missing_values": [-9999, np.nan]}, OptionError, "finite"),
        ({"missing_values": [True]}, OptionError, "finite"),
        ({"missing_values": [[1, 2], [3, 4]]}, OptionError, "finite"),
        ({"missing_values": [[1, 2], [3]]}, OptionError, "finite"),
        ({"missing_values": None}, OptionError, "finite"),
        ({"missing_values": {-9999}}, OptionError, "finite"),
    ],
)
def test_bad_options_raise(
    pair: Pair, tmp_path: Path, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        convert(pair.folder, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_numpy_numbers_and_arrays_become_plain() -> None:
    options = ConvertOptions(
        dtype="uint16",
        flux_range=np.array([-1, 2], dtype=np.float32),  # type: ignore[arg-type]
        split=np.array([0.5, 0.25, 0.25]),  # type: ignore[arg-type]
        seed=np.int64(7),  # type: ignore[arg-type]
        jobs=np.uint8(2),  # type: ignore[arg-type]
        resume=np.bool_(True),  # type: ignore[arg-type]
    )
    plain = ConvertOptions(
        dtype="uint16", flux_range=(-1.0, 2.0), split=(0.5, 0.25, 0.25), seed=7, jobs=2
    )
    assert options == plain
    assert options.settings == plain.settings
    for value in (options.seed, options.jobs, options.resume, *(options.split or ())):
        assert type(value) in (int, bool, float)


def test_missing_values_are_plain_numbers_whose_order_does_not_matter() -> None:
    given = [
        [999999, -9999.0],
        (-9999, 999999, -9999),
        np.array([999999, -9999], dtype=np.float32),
        range(-9999, 10**6, 9999 + 999999),
    ]
    for values in given:
        options = ConvertOptions(missing_values=values)  # type: ignore[arg-type]
        assert options.missing_values == (-9999.0, 999999.0)
        assert [type(value) for value in options.missing_values] == [float, float]
        assert options.settings == ConvertOptions(missing_values=[-9999, 999999]).settings
    assert ConvertOptions(missing_values=np.int64(-1)).missing_values == (-1.0,)  # type: ignore[arg-type]
    assert ConvertOptions().settings != ConvertOptions(missing_values=[0]).settings


def test_numbers_with_a_unit_are_named_where_they_can_have_none() -> None:
    units = pytest.importorskip("astropy.units")
    with pytest.raises(OptionError, match=r"flux_range .* without a unit"):
        ConvertOptions(dtype="uint16", flux_range=[0, 200] * units.percent)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="missing_values"):
        ConvertOptions(missing_values=[-9999] * units.K)


def test_the_range_of_the_flux_itself_can_be_given(pair: Pair, tmp_path: Path) -> None:
    flux = pair.spectra[np.isfinite(pair.spectra)]
    limits = (flux.min(), flux.max())
    store = convert(pair.folder, tmp_path / "store", dtype="uint16", flux_range=limits)
    assert store.info()["quantization"]["bzero"] == float(flux.min())
    assert store.info()["quantization"]["clipped"] == 0


def test_options_know_their_encoding() -> None:
    assert ConvertOptions().encoding == Float32()
    assert ConvertOptions(dtype="uint16").encoding == Quantized16.over(-0.5, 2.7767)


def test_a_wavelength_file_keeps_its_place_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ConvertOptions(wavelength="grid.npy").wavelength == tmp_path / "grid.npy"
