"""Repair of spectra that were shifted to rest: with the velocities that they were shifted with."""

from pathlib import Path

import numpy as np
import pytest

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.conversion.repair import repair
from galahstream.errors import RepairError
from galahstream.store import Store
from tests.sources.files import STAR, write_calibrated_star


def damage(path: Path, row: int) -> None:
    flux = np.load(path / "flux.npy", mmap_mode="r+")
    flux[row, 2000] += 1  # a pixel of the blue camera, which all stars have
    flux.flush()


@pytest.fixture
def stars(tmp_path: Path) -> Path:
    for number in range(4):
        write_calibrated_star(tmp_path / "stars", STAR + number, "DR4", np.sin, 30.0)
    return tmp_path / "stars"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return a catalogue with velocities, but for the last star, which it lacks."""
    rows = [f"{STAR + number},5000,4,0,{-20 * number - 5}" for number in range(3)]
    path = tmp_path / "cat.csv"
    path.write_text("\n".join(["sobject_id,teff,logg,fe_h,rv_comp_1", *rows]))
    return path


def at_rest(stars: Path, dest: Path, catalogue: Path | None = None) -> Store:
    return convert(
        stars, dest, frame="rest", grid="galah-cnn", errors=True, catalogue=catalogue,
        split=(0, 0, 1),
    )  # fmt: skip


def test_the_store_says_where_velocities_came_from(
    stars: Path, catalogue: Path, tmp_path: Path
) -> None:
    of_catalogue = at_rest(stars, tmp_path / "a", catalogue)
    assert of_catalogue.provenance.velocities == "catalogue"
    assert at_rest(stars, tmp_path / "b").provenance.velocities == "files"
    observed = convert(stars, tmp_path / "c", catalogue=catalogue, split=(0, 0, 1))
    assert observed.provenance.velocities is None


def test_with_velocities_of_a_catalogue_it_takes_that_catalogue(
    stars: Path, catalogue: Path, tmp_path: Path
) -> None:
    path = at_rest(stars, tmp_path / "store", catalogue).path
    intact = [(path / name).read_bytes() for name in ("flux.npy", "error.npy")]
    damage(path, 1)
    damaged = (path / "flux.npy").read_bytes()
    with pytest.raises(RepairError, match=r"velocities of a catalogue.*--catalogue FILE"):
        repair(path, stars)
    assert (path / "flux.npy").read_bytes() == damaged
    assert repair(path, stars, catalogue=catalogue).tolist() == [1]
    assert [(path / name).read_bytes() for name in ("flux.npy", "error.npy")] == intact


def test_other_velocities_are_refused(stars: Path, catalogue: Path, tmp_path: Path) -> None:
    path = at_rest(stars, tmp_path / "store", catalogue).path
    damage(path, 1)
    with pytest.raises(RepairError, match="another digest"):
        repair(path, stars, catalogue=_with_other_velocities(catalogue))


def _with_other_velocities(catalogue: Path) -> Path:
    lines = catalogue.read_text().splitlines()
    changed = [lines[0], *(line.rpartition(",")[0] + ",100" for line in lines[1:])]
    path = catalogue.with_name("changed.csv")
    path.write_text("\n".join(changed))
    return path


def test_the_command_line_takes_the_catalogue(stars: Path, catalogue: Path, tmp_path: Path) -> None:
    path = at_rest(stars, tmp_path / "store", catalogue).path
    damage(path, 0)
    command = ["verify", str(path), "--repair", str(stars)]
    assert main(command) == 1
    assert main([*command, "--catalogue", str(catalogue)]) == 0
    assert main(["verify", str(path)]) == 0
