from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.repair import repair
from galahstream.errors import RepairError
from galahstream.store import open_store
from tests.conftest import Pair
from tests.faults.interrupted import contents

OPTIONS: list[dict[str, Any]] = [
    {"format": "npy"},
    {"format": "npy", "dtype": "uint16", "flux_range": (-1.0, 3.0)},
    {"format": "hdf5"},
    {"format": "hdf5", "chunk_rows": 7, "dtype": "uint16", "flux_range": (-1.0, 3.0)},
    {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"},
]


def damage(path: Path, size: int = 3000) -> None:
    """Turn over bits in the last part of a store's flux."""
    file = path / "flux.npy" if path.is_dir() else path
    data = bytearray(file.read_bytes())
    for place in range(len(data) - size, len(data) - size // 2, 97):
        data[place] ^= 16
    file.write_bytes(data)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_damaged_store_is_restored_byte_for_byte(
    pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = convert(pair.folder, tmp_path / "store", **options).path
    sound = contents(path)
    damage(path)
    with open_store(path) as store:
        damaged = store.verify()
    assert len(damaged) > 0
    assert repair(path, pair.folder).tolist() == damaged.tolist()
    assert contents(path) == sound
    assert not list(tmp_path.glob(".*"))


def test_an_undamaged_store_is_not_touched(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    before = (path / "flux.npy").stat().st_ino
    assert len(repair(path, pair.folder)) == 0
    assert (path / "flux.npy").stat().st_ino == before


def test_another_source_raises_and_the_store_stays(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    damage(path)
    before = contents(path)
    np.save(pair.folder / "spectra.npy", pair.spectra + 1)
    with pytest.raises(RepairError, match=r"row \d+ \(star \d+\) was converted from row \d+"):
        repair(path, pair.folder)
    np.save(pair.folder / "spectra.npy", pair.spectra[:5])
    np.save(pair.folder / "labels.npy", pair.labels[:5])
    with pytest.raises(RepairError, match="no such spectrum"):
        repair(path, pair.folder)
    assert contents(path) == before


def test_the_command_finds_restores_and_finds_nothing_more(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = convert(pair.folder, tmp_path / "store").path
    damage(path)
    assert main(["verify", str(path)]) == 1
    assert "--repair SOURCE" in capsys.readouterr().out
    assert main(["verify", str(path), "--repair", str(pair.folder)]) == 0
    assert "restored    row" in capsys.readouterr().out
    assert main(["verify", str(path)]) == 0
