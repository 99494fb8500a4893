"""Sources are chosen by what a path holds, and what cannot be read is explained."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from galahstream.errors import (
    LabelError,
    OptionError,
    SourceAccessError,
    SourceFormatError,
    SourceMissingError,
)
from galahstream.sources.base import explain_access_errors
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.hdf5 import Hdf5Source
from galahstream.sources.npy import TILE_BYTES, NpyPairSource
from galahstream.sources.open import open_source
from tests.sources.files import FLUX, LABELS, STAR, write_hdf5, write_pair, write_star


def test_each_format_is_recognised_under_any_name(tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "pair")
    assert isinstance(open_source(pair), NpyPairSource)
    assert isinstance(open_source(str(pair / "spectra.npy")), NpyPairSource)
    assert isinstance(open_source((pair / "spectra.npy", pair / "labels.npy")), NpyPairSource)
    (pair / "spectra.npy").rename(pair / "flux.h5")
    assert isinstance(open_source(pair / "flux.h5"), NpyPairSource)
    hdf5 = write_hdf5(tmp_path / "survey.npy", flux=FLUX)
    assert isinstance(open_source(hdf5), Hdf5Source)
    write_star(tmp_path / "stars", STAR, "dr3")
    assert isinstance(open_source(tmp_path / "stars"), FitsSource)


@pytest.mark.parametrize(
    "source", [7, None, object(), (), ("a",), ("a", "b", "c"), [1, 2, 3], ("a", FLUX), (FLUX, "a")]
)
def test_what_is_no_source_is_refused(source: object) -> None:
    with pytest.raises(OptionError, match="expected"):
        open_source(source)  # type: ignore[arg-type]


def test_paths_without_spectra_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(SourceFormatError, match="holds no spectra"):
        open_source(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SourceFormatError, match="already a store"):
        open_source(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceFormatError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe")


def test_stars_in_fits_files_have_no_labels(tmp_path: Path) -> None:
    write_star(tmp_path / "stars", STAR, "dr3")
    with pytest.raises(LabelError, match="hold no labels"):
        open_source(tmp_path / "stars", "teff")


def test_one_label_can_be_given_as_text(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "pair")
    source = open_source(folder, "teff=4")
    assert source.label_names == ("teff",)
    assert np.array_equal(source.read_labels()[:, 0], LABELS[:, 4])


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.EIO]
)
def test_what_the_system_said_and_the_cure_are_named(number: int) -> None:
    with (
        pytest.raises(SourceAccessError, match=f"survey.h5.*{os.strerror(number)}; ") as caught,
        explain_access_errors(Path("survey.h5")),
    ):
        raise OSError(number, "text of the library")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("error", [OSError("no number"), FileNotFoundError(2, "no such file")])
def test_other_errors_of_the_system_pass(error: OSError) -> None:
    with pytest.raises(type(error)) as caught, explain_access_errors(Path("survey.h5")):
        raise error
    assert caught.value is error


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    write_pair(tmp_path / "pair")
    write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=LABELS[:, 0])
    write_star(tmp_path / "stars", STAR, "dr3")
    for path in (tmp_path / "pair", tmp_path / "a.h5", tmp_path / "stars"):
        source = open_source(path)
        with no_more_files(), pytest.raises(SourceAccessError, match="ulimit -n") as caught:
            open_source(path)
        assert str(tmp_path) in str(caught.value)
        with no_more_files(), pytest.raises(SourceAccessError, match="ulimit -n"):
            next(source.iter_blocks(3))
        next(source.iter_blocks(3))


READ_IN_LIMITED_SPACE = """
import resource, sys
from galahstream.sources.open import open_source
source = open_source(sys.argv[1])
next(source.iter_blocks(64))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
print(sum(len(block) for block in source.iter_blocks(64)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
@pytest.mark.parametrize(
    ("kind", "spare_bytes"), [("C", 2**26), ("F", 2 * TILE_BYTES + 2**27), ("hdf5", 2**26)]
)
def test_a_source_larger_than_the_address_space_is_read(
    tmp_path: Path, kind: str, spare_bytes: int
) -> None:
    """Blocks of a sparse file of 512 MiB are mapped or read one by one."""
    shape = (8192, 16384)
    path = tmp_path / "spectra"
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("flux", shape, "<f4")[-1] = 1
    else:
        np.lib.format.open_memmap(path, "w+", "<f4", shape, fortran_order=kind == "F").flush()
    command = [sys.executable, "-c", READ_IN_LIMITED_SPACE, str(path), str(spare_bytes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "8192\n"
