import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.cli.main import main
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.conversion.store_source import AnySource
from galahstream.errors import BadSpectraError, LockedError, OptionError, SourceShapeError
from galahstream.sources.base import Spectra
from galahstream.sources.npy import NpyPairSource
from galahstream.store import Store
from tests.conftest import Pair, PairWithErrors, make_pair
from tests.faults.interrupted import contents

FORMATS = [
    {"format": "npy"},
    {"format": "npy", "dtype": "uint16", "flux_range": (-1.0, 3.0)},
    {"format": "hdf5"},
    {"format": "hdf5", "chunk_rows": 7},
    {"format": "hdf5", "compression": "gzip"},
]


def convert(source: AnySource, dest: Path, **options: Any) -> Store:
    """Convert in blocks of five rows."""
    return convert_with(source, dest, ConvertOptions(block_bytes=4 * 64 * 5, **options))


class Failing(NpyPairSource):
    """A source whose disk fails, and that counts what is read of it."""

    fails_at = 10**9

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.folder / "spectra.npy", pair.folder / "labels.npy")
        self.rows_read = 0

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        for block in super().iter_blocks(block_rows, first_row):
            if first_row + self.rows_read >= self.fails_at:
                raise OSError(5, "Input/output error", self.name)
            self.rows_read += len(block)
            yield block


class FailingWithErrors(Failing, PairWithErrors):
    """The same with errors."""

    def __init__(self, pair: Pair) -> None:
        PairWithErrors.__init__(self, pair)
        self.rows_read = 0


SOURCES = [Failing, FailingWithErrors]


@pytest.mark.parametrize("source_class", SOURCES)
@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_a_conversion_whose_source_fails_resumes_to_the_same_bytes(
    pair: Pair, tmp_path: Path, options: dict[str, Any], source_class: type[Failing]
) -> None:
    with convert(source_class(pair), tmp_path / "complete", **options) as store:
        complete = contents(store.path)
        assert (store.error is None) == (source_class is Failing)
    source = source_class(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output") as caught:
        convert(source, tmp_path / "store", jobs=1, **options)
    assert not (tmp_path / "store").exists()
    again = source_class(pair)
    with convert(again, tmp_path / "store", jobs=2, **options) as store:
        assert contents(store.path) == complete
    assert not list(tmp_path.glob(".*"))
    if "compression" not in options:
        assert "again to resume it" in caught.value.__notes__[0]
        assert again.rows_read <= 40  # of 60: two blocks may have been on their way


@pytest.mark.parametrize("lost", ["flux", "error"])
def test_bytes_lost_from_what_was_done_are_written_again(
    pair: Pair, tmp_path: Path, lost: str
) -> None:
    complete = contents(convert(pair.with_errors, tmp_path / "complete").path)
    source = FailingWithErrors(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store", jobs=1)
    file = tmp_path / ".store.partial" / "store" / f"{lost}.npy"
    size = file.stat().st_size - 4096
    file.write_bytes(file.read_bytes()[:4096] + bytes(size))  # as after a power cut
    assert contents(convert(FailingWithErrors(pair), tmp_path / "store").path) == complete


@pytest.mark.parametrize("classes", [SOURCES, SOURCES[::-1]])
def test_errors_that_came_or_went_since_raise(
    pair: Pair, tmp_path: Path, classes: list[type[Failing]]
) -> None:
    source = classes[0](pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store")
    was = source.has_errors
    with pytest.raises(OptionError, match=f"errors was {was} and is now {not was}; use the same"):
        convert(classes[1](pair), tmp_path / "store")


def test_files_of_a_run_whose_journal_was_lost_are_not_published(
    pair: Pair, tmp_path: Path
) -> None:
    source = FailingWithErrors(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store")
    (tmp_path / ".store.partial" / "journal").write_text("torn")
    complete = contents(convert(pair.folder, tmp_path / "complete").path)
    assert contents(convert(pair.folder, tmp_path / "store").path) == complete


@pytest.mark.parametrize("wrong", ["none", "narrow"])
def test_a_source_without_the_errors_that_it_says_it_has_raises(
    pair: Pair, tmp_path: Path, wrong: str
) -> None:
    class Wrong(PairWithErrors):
        def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
            for flux, error, _ in super().iter_spectra(block_rows, first_row):
                assert error is not None
                yield Spectra(flux, None if wrong == "none" else error[:, 1:])

    with pytest.raises(SourceShapeError, match=r"gives (no errors|errors of shape \(5, 63\))"):
        convert(Wrong(pair), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_other_settings_raise_and_a_conversion_can_start_over(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Failing(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store")
    with pytest.raises(OptionError, match="seed was 42 and is now 7; use the same settings"):
        convert(Failing(pair), tmp_path / "store", seed=7)
    assert main(["convert", str(pair.folder), str(tmp_path / "store"), "--seed", "7"]) == 1
    assert "--no-resume" in capsys.readouterr().err
    with convert(Failing(pair), tmp_path / "store", seed=7, resume=False) as store:
        assert store.manifest.split_seed == 7


def test_other_missing_values_raise(pair: Pair, tmp_path: Path) -> None:
    source = Failing(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store", missing_values=[-9999, 1e20])
    with pytest.raises(
        OptionError, match=r"missing_values was \[-9999.0, 1e\+20\] and is now \[\]"
    ):
        convert(Failing(pair), tmp_path / "store")
    with convert(Failing(pair), tmp_path / "store", missing_values=(1e20, -9999)) as store:
        assert store.manifest.missing_values == (-9999.0, 1e20)


def test_a_source_that_changed_since_raises(pair: Pair, tmp_path: Path) -> None:
    source = Failing(pair)
    source.fails_at = 40
    with pytest.raises(OSError, match="Input/output"):
        convert(source, tmp_path / "store")
    np.save(pair.folder / "spectra.npy", pair.spectra + 1)
    with pytest.raises(OptionError, match="here: the source files have changed; use"):
        convert(Failing(pair), tmp_path / "store")


def test_input_that_would_raise_again_leaves_nothing(pair: Pair, tmp_path: Path) -> None:
    spectra = pair.spectra.copy()
    spectra[50] = np.nan
    np.save(pair.folder / "spectra.npy", spectra)
    with pytest.raises(BadSpectraError, match="row 50"):
        convert(pair.folder, tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.slow
def test_a_second_converter_raises_and_a_killed_one_is_resumed(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw", 3000, 256)
    code = (
        "import sys, time\n"
        "from galahstream.conversion.run import convert_with\n"
        "from galahstream.conversion.options import ConvertOptions\n"
        "from galahstream.sources.npy import NpyPairSource\n"
        "read = NpyPairSource.iter_blocks\n"
        "def slow(*arguments):\n"
        "    for block in read(*arguments):\n"
        "        time.sleep(0.05)\n"
        "        yield block\n"
        "NpyPairSource.iter_blocks = slow\n"
        "options = ConvertOptions(jobs=1, block_bytes=4 * 256 * 50)\n"
        "convert_with(sys.argv[1], sys.argv[2], options)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(pair.folder), tmp_path / "store"])
    journal = tmp_path / ".store.partial" / "journal"
    until = time.monotonic() + 30
    while time.monotonic() < until and not (
        journal.exists() and len(journal.read_text().splitlines()) > 3
    ):
        time.sleep(0.01)
    with pytest.raises(LockedError, match=f"process {child.pid} on host"):
        convert(pair.folder, tmp_path / "store")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "store").exists()
    complete = contents(convert(pair.folder, tmp_path / "complete").path)
    assert contents(convert(pair.folder, tmp_path / "store").path) == complete
