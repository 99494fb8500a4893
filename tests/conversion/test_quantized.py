"""Flux stored in 16 bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import OptionError
from tests.conftest import Pair


@pytest.mark.parametrize(
    "options", [{}, {"format": "hdf5"}, {"format": "hdf5", "compression": "lzf"}]
)
def test_16_bits_hold_flux_to_half_a_step(
    pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    store = convert(pair.folder, tmp_path / "store", dtype="uint16", **options)
    wanted = pair.spectra[store.source_row]
    finite = np.isfinite(wanted)
    assert np.isnan(store.flux[:][~finite]).all()
    stored = store.info()["quantization"]
    assert stored["largest_error"] == stored["bscale"] / 2 == 2.5e-5
    assert abs(store.flux[:] - wanted)[finite].max() <= 0.51 * stored["bscale"]
    assert store.flux.dtype == np.uint16
    assert stored["clipped"] == 0
    assert store.info()["pixel_counts"] == {"nan": 1, "infinite": 1, "negative": 1, "zero": 1}


def test_a_given_range_is_kept_and_clipped_pixels_are_counted(pair: Pair, tmp_path: Path) -> None:
    spectra = pair.spectra.copy()
    spectra[8, 9] = 30
    np.save(pair.folder / "spectra.npy", spectra)
    store = convert(pair.folder, tmp_path / "store", dtype="uint16", flux_range=(-1, 2))
    stored = store.info()["quantization"]
    assert stored["clipped"] == 1
    assert stored["bzero"] == -1
    row = int(np.flatnonzero(store.source_row == 8)[0])
    assert store.flux[row][9] == pytest.approx(2, abs=1e-4)


def test_a_range_that_clips_a_thousandth_raises_with_the_range_found(
    pair: Pair, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"outside 0\.9 to 1,.*found -0\.5 to 1\.\d+"):
        convert(pair.folder, tmp_path / "store", dtype="uint16", flux_range=(0.9, 1.0))
    assert not (tmp_path / "store").exists()
