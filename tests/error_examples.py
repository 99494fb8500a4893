"""How each error of docs/errors.md comes about, in a folder with `raw` and `store`."""

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import galahstream as gs
from galahstream import errors
from galahstream.conversion.repair import repair
from galahstream.learn.distributed import explained_loss_of_ranks
from galahstream.sources import fits_file
from galahstream.stream.workers.processes import lost_worker_error
from galahstream.system.lock import locked

Example = Callable[[pytest.MonkeyPatch], Any]


def _turn_over_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(Path("store/flux.npy").read_bytes())
    data[4096 + 17 * 256 + 5] ^= 4
    Path("store/flux.npy").write_bytes(data)


def _damaged_row(monkeypatch: pytest.MonkeyPatch) -> None:
    _turn_over_a_bit(monkeypatch)
    _ = gs.open_store("store").flux[17]


def _repair(monkeypatch: pytest.MonkeyPatch) -> None:
    _turn_over_a_bit(monkeypatch)
    np.save("raw/spectra.npy", np.load("raw/spectra.npy") + 1)
    repair("store", "raw")


def _changed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = gs.open_store("store")
    _ = store.flux[0]
    os.truncate("store/flux.npy", 4096)
    _ = store.flux[0]


def _version(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads(Path("store/manifest.json").read_text())
    Path("store/manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    gs.open_store("store")


def _no_usable_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    spectra = np.load("raw/spectra.npy")
    spectra[12] = np.nan
    np.save("raw/spectra.npy", spectra)
    gs.convert("raw", "other")


def _full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage())
    gs.convert("raw", "other")


class _Usage:
    free = 4_096


def _locked_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lock").write_text(json.dumps(["node17", 4711]))
    with locked(Path("lock"), "store"):
        pass


def _other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = gs.SpectraDataset("store")
    state = gs.SpectraLoader(dataset, shuffle=True, seed=1).state_dict()
    gs.SpectraLoader(dataset, shuffle=True, seed=2).load_state_dict(state)


def _no_astropy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(fits_file, "import_module", missing)
    Path("stars").mkdir()
    Path("stars/1311020029010121.fits").write_bytes(b"SIMPLE")
    gs.convert("stars", "other")


def _not_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("model.pt").write_bytes(b"no model")
    gs.load_model("model.pt")


def _lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    raise lost_worker_error("batch 12 of this iteration")


def _costly(monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(gs.convert("raw", "store.h5", format="hdf5").path, "r+") as file:
        flux = file["flux"][:]
        del file["flux"]
        file.create_dataset("flux", data=flux, chunks=(60, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.open_store("store.h5")


def _empty_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("raw/spectra.npy").write_bytes(b"")
    gs.convert("raw", "other")


def _locked_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with h5py.File("survey.h5", "w") as file:
        file["flux"] = np.ones((60, 64), np.float32)
    with Path("survey.h5").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        gs.convert("survey.h5", "other")


def _one_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("raw/spectra.npy", np.zeros(60, np.float32))
    gs.convert("raw", "other")


def _cut_array(monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate("store/ids.npy", 300)
    gs.open_store("store")


def _lost_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    with explained_loss_of_ranks():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer")


EXAMPLES: dict[type[BaseException], Example] = {
    errors.OptionError: lambda _: gs.convert("raw", "other", dtype="float64"),  # type: ignore[arg-type]
    errors.ExtraMissingError: _no_astropy,
    errors.SourceMissingError: lambda _: gs.convert("rew", "other"),
    errors.SourceAccessError: _locked_file,
    errors.SourceFormatError: _empty_file,
    errors.SourceShapeError: _one_dimension,
    errors.BadSpectraError: _no_usable_pixel,
    errors.LabelError: lambda _: gs.SpectraDataset("store", labels=["t_eff"]),
    errors.WavelengthError: lambda _: gs.SpectraDataset("store", window=(6550.0, 6580.0)),
    errors.SplitError: lambda _: gs.convert("raw", "other", split=(0.9, 0.2, 0.1)),
    errors.DestinationExistsError: lambda _: gs.convert("raw", "store"),
    errors.LockedError: _locked_elsewhere,
    errors.StoreFormatError: _cut_array,
    errors.DamagedRowError: _damaged_row,
    errors.RepairError: _repair,
    errors.StoreChangedError: _changed,
    errors.StoreVersionError: _version,
    errors.StorageFullError: _full,
    errors.DeviceError: lambda _: gs.SpectraLoader(gs.SpectraDataset("store"), device="tpu"),
    errors.CheckpointError: _not_a_model,
    errors.OrderError: _other_order,
    errors.WorkerError: _lost_worker,
    errors.RankError: _lost_rank,
    errors.TrainingDivergedError: lambda _: gs.train("store", lr=1e30, epochs=1, device="cpu"),
    errors.CostlyChunksWarning: _costly,
}
