import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.repair import repair
from galahstream.errors import RepairError
from galahstream.store import open_store
from galahstream.store.formats import format_of
from galahstream.store.layout import FormatName
from galahstream.store.manifest import signed
from galahstream.system.digest import text_digest
from tests.conftest import Pair
from tests.faults.interrupted import contents
from tests.store.contract import damage as damage_row

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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_flux_and_errors_are_restored_byte_for_byte(
    pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = convert(pair.with_errors, tmp_path / "store", **options).path
    intact = contents(path)
    is_exact = "compression" not in options  # compressed chunks may be in another order
    for name, row in (("flux", 3), ("flux", 17), ("error", 17), ("error", 50)):
        damage_row(path, row, name)
    assert repair(path, pair.with_errors).tolist() == [3, 17, 50]
    with open_store(path) as store:
        assert store.verify().tolist() == []
    if is_exact:
        assert contents(path) == intact


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_damaged_errors_need_a_source_that_has_them(
    pair: Pair, tmp_path: Path, format: FormatName
) -> None:
    path = convert(pair.with_errors, tmp_path / "store", format=format).path
    damage_row(path, 3, "flux")
    assert repair(path, pair.folder).tolist() == [3]
    damage_row(path, 3, "error")
    damaged = contents(path)
    with pytest.raises(RepairError, match=r"raw/spectra\.npy has no errors of its pixels"):
        repair(path, pair.folder)
    assert contents(path) == damaged
    other = convert(pair.with_errors, tmp_path / "other")
    assert repair(path, other).tolist() == [3]


def test_the_command_names_the_file_that_is_damaged(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = convert(pair.with_errors, tmp_path / "store").path
    for name, row in (("flux", 3), ("error", 3), ("error", 7)):
        damage_row(path, row, name)
    assert main(["verify", str(path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [("flux.npy" in line, "error.npy" in line) for line in printed[:3]] == [
        (True, False), (False, True), (False, True),
    ]  # fmt: skip
    assert "2 damaged" in printed[3]


def make_earlier(path: Path) -> None:
    """Give a store the manifest that the first stores of this version had."""
    body = json.loads(format_of(path).read_manifest(path))
    for field in ("digest", "chunk_rows", "compression", "provenance"):
        del body[field]
    body["odd_pixels"] = body.pop("pixel_counts")
    body["left_out"] = body.pop("skipped")
    code = body.pop("quantization")
    if code is not None:
        code = {"scale": code.pop("bscale"), "zero": code.pop("bzero"), **code}
    text = signed({**body, "code": code})
    if path.is_dir():
        (path / "manifest.json").write_text(text)
        return
    with h5py.File(path, "r+") as file:
        attribute = h5py.h5a.open(file.id, b"manifest")
        data = text.encode().ljust(attribute.dtype.itemsize)
        attribute.write(np.array(data, dtype=attribute.dtype))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_store_written_before_the_first_release_opens_and_is_restored(
    pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    with convert(pair.folder, tmp_path / "store", **options) as store:
        path, flux, quantization = store.path, store.flux[:], store.manifest.quantization
    make_earlier(path)
    intact = contents(path)
    with open_store(path) as store:
        assert np.array_equal(store.flux[:], flux, equal_nan=True)
        assert store.manifest.quantization == quantization
        text = format_of(path).read_manifest(path).strip()
        assert store.fingerprint == text_digest(text)
    damage(path)
    assert len(repair(path, pair.folder)) > 0
    assert contents(path) == intact


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
