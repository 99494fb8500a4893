"""Arrays in memory are converted, resumed and repaired like files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import galahstream as gs
from galahstream.conversion import pipeline
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.repair import repair
from galahstream.conversion.run import convert_with
from galahstream.errors import OptionError, RepairError
from galahstream.store import Store
from tests.conftest import Pair

NAMES = ["mass", "age", "l_bol", "dist", "teff", "logg", "fe_h", "snr"]
SMALL_BLOCKS = ConvertOptions(block_bytes=64 * 4 * 10, jobs=1)


def test_arrays_make_the_same_store_as_their_files(pair: Pair, tmp_path: Path) -> None:
    expected = gs.convert(pair.folder, tmp_path / "files")
    table = gs.convert((pair.spectra, pair.labels), tmp_path / "table", labels=NAMES)
    columns = dict(zip(NAMES, pair.labels.T, strict=True))
    mapping = gs.convert((pair.spectra, columns), tmp_path / "mapping")
    for store in (table, mapping):
        assert store.flux[:].tobytes() == expected.flux[:].tobytes()
        assert store.label_units == expected.label_units
        assert all(
            store.arrays[name].tobytes() == expected.arrays[name].tobytes() for name in store.arrays
        )
    assert not gs.convert(pair.spectra.astype(">f8"), tmp_path / "flux").labels


def test_a_store_never_replaces_the_file_that_an_array_is_mapped_from(
    npy_store: Store,
) -> None:
    mapped = np.load(npy_store.path / "flux.npy", mmap_mode="r")
    with pytest.raises(OptionError, match="contains the source"):
        gs.convert(mapped, npy_store.path, overwrite=True)


def interrupt(monkeypatch: pytest.MonkeyPatch, source: Any, dest: Path) -> None:
    """Let a conversion fail after three blocks."""
    write, calls = pipeline.SpectraPipeline._write_block, iter(range(3))

    def write_three(self: Any, block: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return write(self, block)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pipeline.SpectraPipeline, "_write_block", write_three)
        convert_with(source, dest, SMALL_BLOCKS)


def test_equal_arrays_resume_and_others_do_not(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, (pair.spectra, pair.labels), tmp_path / "store")
    changed = pair.spectra.copy()
    changed[0, 0] += 1
    with pytest.raises(OptionError, match="the spectra have changed"):
        convert_with((changed, pair.labels), tmp_path / "store", SMALL_BLOCKS)
    equal = (pair.spectra.astype(np.float64), pair.labels.copy())
    with convert_with(equal, tmp_path / "store", SMALL_BLOCKS) as store:
        assert store.flux[:].tobytes() == pair.spectra[store.source_row].tobytes()


def test_a_damaged_row_is_repaired_from_an_equal_array(pair: Pair, tmp_path: Path) -> None:
    store = gs.convert(pair.folder, tmp_path / "store")
    intact = store.flux[:]
    store.close()
    data = bytearray((tmp_path / "store" / "flux.npy").read_bytes())
    data[4096 + 7 * 256] ^= 1
    (tmp_path / "store" / "flux.npy").write_bytes(data)
    with pytest.raises(RepairError, match="flux array has another digest"):
        repair(tmp_path / "store", pair.spectra + 1)
    assert repair(tmp_path / "store", pair.spectra).tolist() == [7]
    assert gs.open_store(tmp_path / "store").flux[:].tobytes() == intact.tobytes()
