"""The index of a folder of star files is kept with the journal of a conversion."""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import pytest

from galahstream.conversion.journal import Journal
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.conversion.store_source import AnySource
from galahstream.errors import DestinationExistsError, OptionError, SourceFormatError
from galahstream.sources import galah_fits
from galahstream.sources.base import Spectra
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.spectrum_options import SpectrumOptions
from galahstream.store import Store
from tests.faults.interrupted import contents, in_a_child
from tests.sources.files import STAR, write_calibrated_star, write_star

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


def interrupt(
    source: AnySource, dest: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Path:
    """Interrupt a conversion after two stars, and return where the index of a folder is kept."""
    iter_spectra = FitsSource.iter_spectra

    def failing(self: FitsSource, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for row, block in enumerate(iter_spectra(self, block_rows, first_row)):
            if row == 3:
                raise OSError(5, "Input/output error")
            yield block

    with monkeypatch.context() as patch:
        patch.setattr(FitsSource, "iter_spectra", failing)
        with pytest.raises(OSError, match="Input/output"):
            convert(source, dest, **options)
    index = dest.parent / f".{dest.name}.partial" / "index"
    assert index.is_file() == isinstance(source, Path)
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frame": "rest"}, "frame was 'observed' and is now 'rest'"),
        ({"grid": "galah-cnn"}, "grid was 'hermes' and is now 'galah-cnn'"),
        ({"resampling": "linear"}, "resampling was 'flux-conserving' and is now 'linear'"),
        ({"errors": True}, "errors was False and is now True"),
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_spectra_of_another_kind_are_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    message: str,
    is_open: bool,
) -> None:
    raw = tmp_path / "raw"
    for number in range(N_STARS):
        write_calibrated_star(raw, STAR + number, "DR3", np.ones_like, cameras="1")
    asked: dict[str, Any] = {"frame": "observed", "grid": "hermes"}

    def run(work: Callable[..., Any], asked: dict[str, Any], *arguments: Any) -> Any:
        options = SpectrumOptions(**asked)
        if is_open:
            return work(FitsSource(raw, options=options), tmp_path / "store", *arguments)
        return work(raw, tmp_path / "store", *arguments, spectrum=options)

    run(interrupt, asked, monkeypatch)
    with pytest.raises(OptionError, match=message):
        run(convert, asked | changed)
    assert len(run(convert, asked)) == N_STARS


@pytest.mark.slow
def test_processes_read_what_one_process_reads_and_are_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    for number in range(9):
        write_calibrated_star(raw, STAR + number, "DR4", np.cos, 12.5, cameras="14")
    (raw / f"{STAR + 6}4.fits").write_bytes(b"")
    options: dict[str, Any] = {
        "spectrum": SpectrumOptions(frame="rest", grid="galah-cnn", errors=True),
        "on_bad": "skip",
    }
    one = convert(raw, tmp_path / "one", **options)
    assert [star for star, _ in one.manifest.skipped] == [STAR + 6]
    monkeypatch.setattr(galah_fits, "_STARS_BEFORE_PROCESSES", 1)
    several = ConvertOptions(block_bytes=STAR_BYTES, jobs=2, **options)
    with convert_with(raw, tmp_path / "several", several) as store:
        assert contents(store.path) == contents(one.path)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", _failing_after(Journal.add, 3))
        with pytest.raises(OSError, match="Input/output"):
            convert_with(raw, tmp_path / "store", several)
    assert not [child for child in psutil.Process().children(True) if _reads(child)]
    with convert_with(raw, tmp_path / "store", several) as store:
        assert contents(store.path) == contents(one.path)


@pytest.mark.slow
def test_a_process_that_may_start_no_others_reads_alone(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(3):
        write_star(raw, STAR + number, "dr3", cameras="1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_count_of_stars, (raw, tmp_path / "store")) == 3


def _count_of_stars(raw: Path, dest: Path) -> int:
    """Convert in processes if that is possible; at module level, as a worker process needs it."""
    galah_fits._STARS_BEFORE_PROCESSES = 1
    with convert_with(raw, dest, ConvertOptions(block_bytes=STAR_BYTES, jobs=2)) as store:
        return len(store)


def _failing_after(call: Callable[..., None], n_calls: int) -> Callable[..., None]:
    count = 0

    def failing(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > n_calls:
            raise OSError(5, "Input/output error")
        call(*arguments)

    return failing


def _reads(process: psutil.Process) -> bool:
    """Return whether a process is one that reads, rather than one that starts others."""
    with suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        return "forkserver" not in command and "resource_tracker" not in command
    return False


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
        patch.setattr(FitsSource, "iter_spectra", fail)
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
