"""The command line as a user meets it: output, exit status, one line for rejected input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.store import open_store
from tests.conftest import Pair
from tests.sources.files import STAR, write_star

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_whole_way(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run = str(tmp_path / "store.h5"), str(tmp_path / "run")
    assert main(["convert", str(pair.folder), store, "--format", "hdf5"]) == 0
    assert "60 stars of 64 pixels" in capsys.readouterr().out
    assert main(["info", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == {"train": 42, "val": 9, "test": 9}
    assert main(["plot", store, "--row", "3", "--out", str(tmp_path / "a.png")]) == 0
    assert main(["train", store, "--epochs", "1", "--out", run, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "training and validation took" in out
    assert "tensorboard --logdir" in out
    assert main(["evaluate", f"{run}/model.pt", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"]["teff"]["unit"] == "K"
    assert main(["predict", f"{run}/model.pt", store, "--out", str(tmp_path / "l.csv")]) == 0
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 61
    capsys.readouterr()
    assert main(["predict", f"{run}/model.pt", store, "--out", "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "l.csv").read_bytes().decode()
    assert main(["predict", f"{run}/model.pt", store, "--out", "-", "--json"]) == 1
    assert "both write to standard output" in capsys.readouterr().err


@pytest.mark.slow
def test_a_16_bit_store_is_made_described_and_trained_on_in_blocks(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run = str(tmp_path / "store"), str(tmp_path / "run")
    options = ["--dtype", "uint16", "--flux-range=-1,2", "--jobs", "2"]
    assert main(["convert", str(pair.folder), store, *options]) == 0
    printed = capsys.readouterr().out
    assert "16 bits     flux = -1 + 4.57" in printed
    assert "read        mapped: fits in memory" in printed
    options = ["--epochs", "1", "--shuffle-block", "5", "--workers", "1", "--device", "cpu"]
    assert main(["train", store, "--out", run, "--batch-size", "8", *options]) == 0
    printed = capsys.readouterr().err
    assert "workers: 1 thread to load data (as asked)" in printed
    assert "rank correlation of neighbours" in printed
    in_place = str(tmp_path / "in place")
    assert main(["convert", str(pair.folder), in_place, "--in-place"]) == 0
    assert "the source's own file" in capsys.readouterr().out


@pytest.mark.slow
def test_several_windows_are_given_by_repeating_the_option(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(pair.folder / "wavelength.npy", np.linspace(6500, 6563, 64))
    store, run = str(tmp_path / "store"), str(tmp_path / "run")
    assert main(["convert", str(pair.folder), store]) == 0
    options = ["--epochs", "1", "--device", "cpu", "--out", run]
    windows = ["--window", "6540:6549.5", "--window", "6500:6509.5"]
    assert main(["train", store, *options, *windows]) == 0
    assert "9 test, of 20 pixels" in capsys.readouterr().err
    assert main(["train", store, *options, "--overwrite", "--window", "red"]) == 0
    assert "stars of 64 pixels" in capsys.readouterr().err
    assert main(["predict", f"{run}/model.pt", store, "--out", "-"]) == 0
    assert main(["train", store, *options, "--window", "red", "--window", "no-tellurics"]) == 1
    assert "cannot be combined" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--format", "hdf5"]])
def test_verify_names_damaged_rows_and_where_they_lie(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    store = tmp_path / "store"
    main(["convert", str(pair.folder), str(store), *options])
    assert main(["verify", str(store)]) == 0
    assert "60 stars, intact" in capsys.readouterr().out
    path = store / "flux.npy" if store.is_dir() else store
    with open_store(store) as opened:
        row = opened.flux.read_stored(np.array([7])).tobytes()
    data = bytearray(path.read_bytes())
    place = data.index(row)
    data[place + 100] ^= 4
    path.write_bytes(data)
    assert main(["verify", str(store)]) == 1
    printed = capsys.readouterr().out
    assert "row 7 (star" in printed
    assert f"{path}, bytes {place} to {place + 255}" in printed
    assert main(["verify", str(store), "--json"]) == 1
    assert [one["row"] for one in json.loads(capsys.readouterr().out)["damaged"]] == [7]


def test_a_mock_survey_is_named_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mock", str(tmp_path / "raw"), "--stars", "3"]) == 0
    assert "mock" in capsys.readouterr().out
    assert np.load(tmp_path / "raw" / "spectra.npy").shape == (3, 16384)


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "nowhere"],
        ["convert", "nowhere", "store"],
        ["verify", "nowhere"],
        ["convert", "a", "b", "c", "store"],
        ["verify", "{store}", "--repair", "a", "b", "c"],
        ["train", "nowhere"],
        ["train", "{store}", "--batch-size", "0"],
        ["train", "{store}", "--labels", "vsini"],
        ["train", "{store}", "--window", "a:b"],
        ["train", "{store}", "--window", "violet"],
        ["train", "{store}", "--window", "red", "--window", "6550:6540"],
        ["plot", "{store}", "--row", "60"],
        ["predict", "nowhere.pt", "{store}", "--out", "l.csv"],
        ["mock", "raw", "--stars", "0"],
        ["convert", "raw", "x", "--dtype", "uint16", "--flux-range", "0.9,1"],
        ["convert", "raw", "x", "--in-place", "--format", "hdf5"],
        ["train", "{store}", "--shuffle-block", "43"],
        ["train", "{store}", "--workers", "-1"],
        ["train", "{store}", "--augment", "blur=1"],
        ["train", "{store}", "--augment", "noise=200:20"],
        ["train", "{store}", "--augment", "velocity=2"],
        ["train", "{store}", "--device", "tpu"],
    ],
)
def test_a_refusal_is_one_line_and_status_1(
    pair: Pair,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["convert", str(pair.folder), "made"])
    capsys.readouterr()
    before = sorted(tmp_path.iterdir())
    assert main([word.format(store="made") for word in arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("galahstream: ")
    assert printed.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupt_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        error = KeyboardInterrupt()
        error.add_note("resume it with --resume")
        raise error

    monkeypatch.setattr("galahstream.store.open_store", interrupt)
    assert main(["info", "store"]) == 130
    assert capsys.readouterr().err == (
        "galahstream: interrupted\ngalahstream: resume it with --resume\n"
    )


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(FileNotFoundError):
        main(["info", "nowhere", "--debug"])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["convert", "nowhere", "dest"], ["train", "nowhere"]])
def test_the_scripts_run_as_the_commands(arguments: list[str]) -> None:
    script = ROOT / "scripts" / f"{arguments[0]}.py"
    done = subprocess.run(
        [sys.executable, str(script), *arguments[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("galahstream: nowhere")


@pytest.mark.slow
def test_missing_cameras_and_files_that_are_not_used_are_said_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "in", str(tmp_path / "store")
    write_star(folder, STAR, "dr3", cameras="124")
    write_star(folder, STAR + 1, "dr3")
    (folder / "allstar.fits").touch()
    assert main(["convert", str(folder), store]) == 0
    printed = capsys.readouterr().out
    cameras, others = (line for line in printed.splitlines() if line.startswith("note  "))
    assert cameras.endswith("lack a camera, whose pixels are NaN: 1 of 2 (red 1)")
    assert others.endswith("not a star's (1): allstar.fits")
    for command in (["info", store], ["convert", str(folder), store, "--overwrite"]):
        assert main([*command, "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert [line.removeprefix("note        ") for line in (cameras, others)] == notes


def test_stars_of_damaged_and_unfinished_files_stop_a_conversion_or_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "in", str(tmp_path / "store")
    for star in (STAR, STAR + 1, STAR + 2):
        write_star(folder, star, "dr4->f4")
    (folder / f"{STAR}2.fits").rename(folder / f"{STAR}2.fits.crdownload")
    (folder / f"{STAR + 1}3.fits").write_bytes(b"")
    assert main(["convert", str(folder), store]) == 1
    assert f"{STAR}2.fits.crdownload" in capsys.readouterr().err
    assert main(["convert", str(folder), store, "--on-bad", "skip"]) == 0
    printed = capsys.readouterr().out
    assert f"skipped     star {STAR}: {STAR}2.fits.crdownload" in printed
    assert f"skipped     star {STAR + 1}: {STAR + 1}3.fits is empty" in printed
    assert "skipped     2 stars in all" in printed
