"""Ordinary trainers, typing errors and outputs lose no star, no data and no training."""

import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import GalahStreamError
from galahstream.store import Store
from tests.conftest import Pair, make_pair


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[gs.SpectraLoader]:
    store = gs.convert(make_pair(tmp_path / "large", stars=300).folder, tmp_path / "large_store")
    dataset = gs.SpectraDataset(store, return_ids=True)
    with gs.SpectraLoader(dataset, 16, shuffle=True, seed=1) as loader:
        yield loader


def by_length(loader: gs.SpectraLoader) -> list[int]:
    batches = iter(loader)
    return [star for _ in range(len(loader)) for star in next(batches)[2].tolist()]


def by_zip(loader: gs.SpectraLoader) -> list[int]:
    return [star for _, (_, _, ids) in zip(range(len(loader)), loader, strict=False)
            for star in ids.tolist()]  # fmt: skip


def as_second_of_two(loader: gs.SpectraLoader) -> list[int]:
    return [star for _, (_, _, ids) in zip(range(len(loader)), loader, strict=True)
            for star in ids.tolist()]  # fmt: skip


@pytest.mark.parametrize("epoch_of", [by_length, by_zip, as_second_of_two])
def test_every_epoch_has_another_order_and_every_star(
    loader: gs.SpectraLoader, epoch_of: Callable[[gs.SpectraLoader], list[int]]
) -> None:
    epochs = [epoch_of(loader) for _ in range(4)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len(set(epochs[0])) == 210
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert loader.epoch == 4


def test_epochs_that_are_left_early_show_other_stars(loader: gs.SpectraLoader) -> None:
    seen = {star for _ in range(20) for _, _, ids in islice(loader, 3) for star in ids.tolist()}
    assert len(seen) > 200


def test_a_resumed_epoch_is_completed_once_and_the_next_are_whole(
    loader: gs.SpectraLoader,
) -> None:
    batches = iter(loader)
    first = [star for _ in range(5) for star in next(batches)[2].tolist()]
    state = loader.state_dict()
    with gs.SpectraLoader(loader.dataset, 16, shuffle=True, seed=1) as resumed:
        resumed.load_state_dict(state)
        assert len(resumed) == 14
        epochs = [[star for _, _, ids in resumed for star in ids.tolist()] for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [130, 210, 210]
    assert len({*first, *epochs[0]}) == 210


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "raw", "raw", "--overwrite"],
        ["convert", "raw", ".", "--overwrite"],
        ["convert", "raw", "raw/inside", "--overwrite"],
        ["convert", "raw", "thesis", "--overwrite"],
        ["mock", "thesis", "--stars", "3", "--overwrite"],
    ],
)
def test_only_what_the_library_wrote_is_overwritten(
    arguments: list[str], npy_store: Store, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair.folder.parent)
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("important")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(arguments) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_settings_from_numpy_train_and_load_again(pair: Pair, tmp_path: Path) -> None:
    store = gs.convert(pair.folder, tmp_path / "store", wavelength=np.linspace(4714, 4716, 64))
    options: dict[str, Any] = {
        "epochs": np.int64(1), "batch_size": np.int32(16), "lr": np.float32(1e-3),
        "seed": np.int64(7), "window": np.array([4714.5, 4715.5]),
        "labels": np.array(["teff", "logg"]),
    }  # fmt: skip
    gs.train(store, tmp_path / "run", **options, progress=False)
    model = gs.load_model(tmp_path / "run" / "model.pt")
    assert [metrics.name for metrics in gs.evaluate(model, store).labels] == ["teff", "logg"]


def test_a_store_that_would_not_open_is_never_written(pair: Pair, tmp_path: Path) -> None:
    gs.convert(pair.folder, tmp_path / "store")
    refused: tuple[dict[str, Any], ...] = ({"seed": 2**128}, {"labels": ["te\u00a0ff=4"]})
    for options in refused:
        with pytest.raises(GalahStreamError):
            gs.convert(pair.folder, tmp_path / "store", overwrite=True, **options)
        assert len(gs.open_store(tmp_path / "store")) == 60


def test_a_store_is_repaired_through_a_link_and_from_inside(
    npy_store: Store, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (npy_store.path / "flux.npy").read_bytes()
    link = pair.folder.parent / "link"
    link.symlink_to(npy_store.path)
    for folder, name in ((pair.folder.parent, "link"), (npy_store.path, "../store")):
        data = bytearray(expected)
        data[5000] ^= 1
        (npy_store.path / "flux.npy").write_bytes(data)
        monkeypatch.chdir(folder)
        assert main(["verify", name, "--repair", str(pair.folder)]) == 0
        assert (npy_store.path / "flux.npy").read_bytes() == expected
        monkeypatch.chdir(pair.folder.parent)
    assert link.is_symlink()


def test_output_goes_through_links_into_pipes_and_keeps_modes(
    npy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.png").write_bytes(b"")
    Path("old.png").chmod(0o600)
    Path("link.png").symlink_to("old.png")
    assert main(["plot", str(npy_store.path), "--out", "link.png"]) == 0
    assert Path("link.png").is_symlink()
    assert Path("old.png").read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(Path("old.png").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["predictions.png", "loss.png", "history.csv", "metrics.json", "model.pt"]
)
def test_a_training_writes_over_no_file_of_the_users(
    npy_store: Store, tmp_path: Path, name: str
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / name).write_text("mine")
    assert main(["train", str(npy_store.path), "--out", str(tmp_path / "figures")]) == 1
    assert (tmp_path / "figures" / name).read_text() == "mine"
