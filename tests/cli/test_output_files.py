"""Output files never replace what a command reads."""

import shutil
from pathlib import Path

import pytest

from galahstream.cli.main import main
from galahstream.store import Store


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plot", "predict"])
@pytest.mark.parametrize("place", ["store/flux.npy", "store/new.png", "link/flux.npy", "hard.png"])
def test_an_output_that_is_an_input_or_inside_one_is_refused(
    npy_store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    place: str,
) -> None:
    store, model = tmp_path / "store", tmp_path / "hard.png"
    (tmp_path / "link").symlink_to(store)
    before = (store / "flux.npy").read_bytes()
    model.write_bytes(b"a model")
    inputs = [str(model), str(store)] if command == "predict" else [str(store)]
    status = main([command, *inputs, "--out", str(tmp_path / place)])
    if command == "plot" and place == "hard.png":
        assert status == 0
    else:
        assert status == 1
        assert "which this command reads; choose another file (--out)" in capsys.readouterr().err
        assert model.read_bytes() == b"a model"
    assert (store / "flux.npy").read_bytes() == before
    assert not (store / "new.png").exists()
    shutil.rmtree(store)


@pytest.mark.slow
def test_a_run_is_not_written_into_a_store(
    npy_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (npy_store.path, npy_store.path / "run"):
        before = sorted(npy_store.path.iterdir())
        assert main(["train", str(npy_store.path), "--out", str(out), "--device", "cpu"]) == 1
        assert "is in the store" in capsys.readouterr().err
        assert sorted(npy_store.path.iterdir()) == before
