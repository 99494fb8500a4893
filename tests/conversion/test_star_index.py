"""The index of a folder of star files is kept with the journal of a conversion."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert_with
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.store_source import AnySource
from galahstream.errors import DestinationExistsError, OptionError, SourceFormatError
from galahstream.sources.galah_fits import FitsSource
from galahstream.store import Store
from tests.faults.interrupted import contents, in_a_child
from tests.sources.files import STAR, write_star

STAR_BYTES = 4 * 4 * 4096
N_STARS = 4


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Four stars with one camera each, in two nights."""
    pytest.importorskip("astropy")
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(N_STARS):
        write_star(raw / f"14020{number % 2}", STAR + number, "dr3", cameras="1")
    return raw


def convert(source: AnySource, dest: Path, **options: Any) -> Store:
    """Convert star by star."""
    return convert_with(source, dest, ConvertOptions(block_bytes=STAR_BYTES, jobs=1, **options))


def interrupt(source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Path:
    """Interrupt a conversion after two stars, and return the kept index."""
    iter_blocks = FitsSource.iter_blocks

    def failing(
        self: FitsSource, block_rows: int, first_row: int = 0
    ) -> Iterator[npt.NDArray[np.float32]]:
        for row, block in enumerate(iter_blocks(self, block_rows, first_row)):
            if row == 3:
                raise OSError(5, "Input/output error")
            yield block

    with monkeypatch.context() as patch:
        patch.setattr(FitsSource, "iter_blocks", failing)
        with pytest.raises(OSError, match="Input/output"):
            convert(source, dest, **options)
    index = dest.parent / f".{dest.name}.partial" / "index"
    assert index.is_file()
    return index


def forbid_listing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let every listing of a folder, or of one in it, fail."""

    def watched(call: Any) -> Any:
        def listing(path: Any = ".") -> Any:
            real = Path(os.path.realpath(path)) if not isinstance(path, int) else Path("/")
            if folder == real or folder in real.parents:
                pytest.fail(f"{path} was listed")
            return call(path)

        return listing

    monkeypatch.setattr(os, "scandir", watched(os.scandir))
    monkeypatch.setattr(os, "listdir", watched(os.listdir))


def test_a_resumed_conversion_lists_nothing_and_gives_the_same_bytes(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = contents(convert(nights, tmp_path / "complete").path)
    interrupt(nights, tmp_path / "store", monkeypatch)
    forbid_listing(monkeypatch, nights)
    assert contents(convert(nights, tmp_path / "store").path) == complete
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_resumed_conversion_has_the_stars_of_its_beginning(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(nights, tmp_path / "store", monkeypatch)
    write_star(nights / "140209", STAR + 9, "dr3", cameras="1")
    assert len(convert(nights, tmp_path / "store")) == N_STARS
    assert len(convert(nights, tmp_path / "store", overwrite=True)) == N_STARS + 1


@pytest.mark.slow
def test_a_conversion_that_starts_over_lists_again_and_keeps_the_new_index(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = interrupt(nights, tmp_path / "store", monkeypatch)
    before = index.read_bytes()
    write_star(nights / "140209", STAR + 9, "dr3", cameras="1")
    assert interrupt(nights, tmp_path / "store", monkeypatch, resume=False) == index
    assert index.read_bytes() != before
    forbid_listing(monkeypatch, nights)
    assert len(convert(nights, tmp_path / "store")) == N_STARS + 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9], None])
def test_a_damaged_or_lost_index_is_made_again(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    complete = contents(convert(nights, tmp_path / "complete").path)
    index = interrupt(nights, tmp_path / "store", monkeypatch)
    if damage is None:
        index.unlink()
    else:
        index.write_bytes(damage(index.read_bytes()))
    assert contents(convert(nights, tmp_path / "store").path) == complete


def test_a_lost_index_of_stars_that_changed_is_an_error(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(nights, tmp_path / "store", monkeypatch).unlink()
    os.utime(nights / "140200" / f"{STAR}1.fits", ns=(1, 1))
    with pytest.raises(OptionError, match="here: the spectra have changed; use"):
        convert(nights, tmp_path / "store")


@pytest.mark.slow
def test_another_folder_is_an_error_and_the_first_one_can_still_be_resumed(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = contents(convert(nights, tmp_path / "complete").path)
    interrupt(nights, tmp_path / "store", monkeypatch)
    write_star(tmp_path / "other", STAR, "dr3", cameras="1")
    write_star(tmp_path / "other", STAR + 1, "dr3", cameras="1")
    with pytest.raises(OptionError, match=r"source was '.*raw' and is now '.*other'"):
        convert(tmp_path / "other", tmp_path / "store")
    assert contents(convert(nights, tmp_path / "store").path) == complete


def test_other_options_are_an_error_also_with_an_index(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(nights, tmp_path / "store", monkeypatch)
    with pytest.raises(OptionError, match="seed was 42 and is now 7"):
        convert(nights, tmp_path / "store", seed=7)


def test_a_conversion_is_resumed_from_another_working_folder(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    interrupt(Path("raw"), tmp_path / "store", monkeypatch)
    monkeypatch.chdir(nights)
    assert len(convert(Path("../raw"), tmp_path / "store")) == N_STARS


def test_a_file_that_changed_since_is_an_error_that_names_it(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(nights, tmp_path / "store", monkeypatch)
    path = nights / "140201" / f"{STAR + 3}1.fits"
    status = path.stat()
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceFormatError, match=f"{path}: it changed.*--no-resume"):
        convert(nights, tmp_path / "store")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(convert(nights, tmp_path / "store")) == N_STARS


def test_no_index_is_left_when_a_conversion_fails_before_its_first_star(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(FitsSource, "iter_blocks", fail)
        with pytest.raises(OSError, match="Input/output"):
            convert(nights, tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_destination_behind_a_link_in_the_folder_is_an_error(
    nights: Path, tmp_path: Path
) -> None:
    (nights / "140200").rename(tmp_path / "140200")
    (nights / "140200").symlink_to(tmp_path / "140200")
    for source in (nights, FitsSource(nights)):
        for destination in (tmp_path / "140200" / "store", nights / "140201" / "store"):
            with pytest.raises(OptionError, match="is inside the source"):
                convert(source, destination)
            assert not destination.exists()


@pytest.mark.faults
@pytest.mark.slow
def test_a_conversion_interrupted_at_any_file_call_is_resumed_to_the_same_bytes(
    nights: Path, tmp_path: Path
) -> None:
    complete = contents(convert(nights, tmp_path / "complete").path)
    home = tmp_path / "home"
    home.mkdir()

    def work() -> None:
        convert(nights, home / "store", progress=False).close()

    _, n_calls = in_a_child(work, 0, "")
    assert n_calls > 20
    for point in range(1, n_calls + 1, 7):
        for fault in ("kill", "torn", "ENOSPC"):
            shutil.rmtree(home)
            home.mkdir()
            in_a_child(work, point, fault)
            with suppress(DestinationExistsError):  # it was published before
                work()
            assert contents(home / "store") == complete
            assert [path.name for path in home.iterdir()] == ["store"]
