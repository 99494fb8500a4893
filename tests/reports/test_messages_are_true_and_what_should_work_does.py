"""Nothing is called damaged that is not, and ordinary requests are not refused."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, random_split

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import GalahStreamError, OptionError
from galahstream.learn.run import RunFolder
from galahstream.store import Store
from tests.conftest import Pair
from tests.sources.files import FLUX, LABELS, N_STARS, write_hdf5


def test_a_locked_file_is_not_called_damaged_and_can_be_read(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    path = gs.convert(pair.folder, tmp_path / "store.h5").path
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(GalahStreamError, match=r"locked.*locking=False") as caught:
            gs.open_store(path)
        assert "convert again" not in str(caught.value)
        assert len(gs.open_store(path, locking=False)) == 60


def test_what_nobody_asked_for_does_not_stop_a_source(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["flux"], file["teff"] = FLUX, LABELS[:, 0]
        file["name"], file["version"] = ["star"] * N_STARS, 3
        file["elsewhere"] = h5py.ExternalLink("/gone.h5", "flux")
    assert list(gs.convert(path, tmp_path / "store").labels) == ["teff"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_picture_has_the_format_of_its_name(
    npy_store: Store, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"x.{suffix}"
    assert main(["plot", str(npy_store.path), "--out", str(out)]) == 0
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert out.read_bytes().startswith(begins[suffix])


def test_keywords_of_torchs_loader_are_honoured_or_refused(npy_store: Store) -> None:
    dataset = gs.SpectraDataset(npy_store)
    with gs.SpectraLoader(dataset, 8, prefetch_factor=3, pin_memory=False) as loader:
        assert sum(len(flux) for flux, _ in loader) == len(dataset)
    with gs.SpectraLoader(dataset, 8, collate_fn=len) as loader:
        assert sum(loader) == len(dataset)
    with pytest.raises(TypeError, match="prefetch"):
        gs.SpectraLoader(dataset, 8, prefetch=3)  # type: ignore[call-arg]


def halves(dataset: gs.SpectraDataset) -> Dataset[Any]:
    return random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(1))[0]


@pytest.mark.parametrize(
    "select",
    [
        lambda dataset: Subset(dataset, [5, 1, 1, -2]),
        halves,
        lambda dataset: ConcatDataset([dataset, Subset(dataset, range(3))]),
    ],
    ids=["Subset", "random_split", "ConcatDataset"],
)
def test_selections_of_torch_are_read(
    npy_store: Store, select: Callable[[gs.SpectraDataset], Any]
) -> None:
    selected = select(gs.SpectraDataset(npy_store))
    with gs.SpectraLoader(selected, 4) as loader:
        flux = torch.cat([flux for flux, _ in loader])
    assert torch.equal(flux, torch.stack([selected[k][0] for k in range(len(selected))]))


@pytest.mark.parametrize("index", [1.7, "3", True])
def test_an_index_that_is_no_integer_is_a_type_error(npy_store: Store, index: Any) -> None:
    with pytest.raises(TypeError):
        gs.SpectraDataset(npy_store)[index]


@pytest.mark.slow
def test_two_trainings_never_share_a_folder(npy_store: Store, tmp_path: Path) -> None:

    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(GalahStreamError, match=str(os.getpid())),
    ):
        gs.train(npy_store, tmp_path / "run", epochs=1, progress=False)


def test_arrays_stores_and_parts_of_a_split_convert(tmp_path: Path) -> None:
    store = gs.convert((FLUX, {"teff": LABELS[:, 0]}), tmp_path / "x.h5", split=(0, 0, 1))
    assert store.format == "hdf5"
    again = gs.convert(store, tmp_path / "again", dtype="uint16")
    assert (again.format, again.manifest.split_sizes) == ("npy", (0, 0, N_STARS))
    with pytest.raises(GalahStreamError, match="no stars in train and val"):
        gs.train(again, tmp_path / "run", epochs=1, progress=False)


def test_one_label_is_one_word(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=LABELS[:, 0])
    store = gs.convert(path, tmp_path / "store", labels="teff")
    assert gs.SpectraDataset(store, labels="teff").label_names == ("teff",)


@pytest.mark.slow
def test_a_run_is_continued_and_replaced(npy_store: Store, tmp_path: Path) -> None:
    train = ["train", str(npy_store.path), "--out", str(tmp_path / "run"), "--batch-size", "32"]
    assert main([*train, "--epochs", "1"]) == 0
    assert main([*train, "--epochs", "2", "--resume"]) == 0
    assert main([*train, "--epochs", "1", "--lr", "1e-4"]) == 1
    assert main([*train, "--epochs", "1", "--lr", "1e-4", "--overwrite"]) == 0


def test_a_small_split_may_be_shuffled_in_blocks_and_in_float64(npy_store: Store) -> None:
    dataset = gs.SpectraDataset(npy_store, split="val")
    torch.set_default_dtype(torch.float64)
    try:
        with (
            np.errstate(all="raise"),
            gs.SpectraLoader(dataset, 32, shuffle=True, shuffle_block=4) as loader,
        ):
            assert {flux.dtype for flux, _ in loader} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(OptionError, match="cannot be read by SpectraLoader"):
        gs.SpectraLoader([1, 2, 3], 2)  # type: ignore[arg-type]
