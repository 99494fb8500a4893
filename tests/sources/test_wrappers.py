"""What wrappers make of their sources, and what they refuse."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import LabelError, OptionError, SourceShapeError, WavelengthError
from galahstream.mock.source import MockSource
from galahstream.sources.base import Source, Spectra
from galahstream.sources.hdf5 import Hdf5Source
from galahstream.sources.memory import MemorySource
from galahstream.sources.npy import NpyPairSource
from galahstream.sources.resampled import Resampled
from galahstream.sources.wrappers import Concatenated, Repeated, Selected
from galahstream.survey.grids import resolve_grid
from tests.sources.contract import read_all, read_errors
from tests.sources.files import (
    ERRORS,
    FLUX,
    IDS,
    LABELS,
    LARGE,
    N_PIXELS,
    N_STARS,
    WAVELENGTH,
    WithErrors,
    write_hdf5,
    write_pair,
)


@pytest.fixture
def pair(tmp_path: Path) -> Source:
    folder = write_pair(tmp_path / "pair")
    return NpyPairSource(folder / "spectra.npy", folder / "labels.npy")


@pytest.mark.parametrize(
    "rows", [[0], [3, 4, 9], range(N_STARS), np.array([1, 22], dtype=np.uint8)]
)
def test_selected_rows_are_those_of_the_source(pair: Source, rows: list[int]) -> None:
    source = Selected(pair, rows)
    index = np.asarray(rows)
    assert np.array_equal(read_all(source, 4), FLUX[index], equal_nan=True)
    assert np.array_equal(source.read_labels(), LABELS[index], equal_nan=True)
    assert np.array_equal(source.ids, IDS[index])
    assert source.files == pair.files


def test_booleans_select_rows(pair: Source) -> None:
    selected = Selected(pair, IDS % 2 == 0)
    assert np.array_equal(selected.ids, IDS[IDS % 2 == 0])


@pytest.mark.parametrize(
    "rows", [[], [-1], [N_STARS], [2, 1], [1, 1], [0.0], [[0]], [True], "teff", None]
)
def test_rows_that_cannot_be_selected_are_refused(pair: Source, rows: object) -> None:
    with pytest.raises(OptionError, match="cannot be selected"):
        Selected(pair, rows)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_selection_reads_no_more_than_it_must() -> None:
    """The two stars of a large survey are made, and not the million between them."""
    mock = MockSource(1_000_000, jobs=1)
    source = Selected(mock, [2, 900_000])
    block = next(source.iter_blocks(2))
    assert np.array_equal(block[0], next(mock.iter_blocks(1, 2))[0])
    assert np.array_equal(block[1], next(mock.iter_blocks(1, 900_000))[0])


def test_repeated_rows_keep_ids_and_labels(pair: Source) -> None:
    source = Repeated(pair, 3)
    assert np.array_equal(read_all(source, 7), np.tile(FLUX, (3, 1)), equal_nan=True)
    assert np.array_equal(read_all(source, 7, 30), np.tile(FLUX, (3, 1))[30:], equal_nan=True)
    assert np.array_equal(source.read_labels(), np.tile(LABELS, (3, 1)), equal_nan=True)
    assert np.array_equal(source.ids, np.tile(IDS, 3))


def test_errors_stay_with_their_rows(tmp_path: Path) -> None:
    one = WithErrors(write_hdf5(tmp_path / "a.h5", flux=FLUX))
    source = Selected(Concatenated([Repeated(one, 2), Selected(one, [3, 9])]), range(1, 48, 2))
    expected = np.concatenate([ERRORS, ERRORS, ERRORS[[3, 9]]])[1:48:2]
    assert np.array_equal(read_errors(source, 5), expected, equal_nan=True)


def test_errors_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    class Costly(WithErrors):
        def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
            raise AssertionError

    one = Costly(write_hdf5(tmp_path / "a.h5", flux=FLUX))
    for source in (Selected(one, [0, 5]), Repeated(one, 2), Concatenated([one, one])):
        assert source.has_errors
        assert len(read_all(source, 7)) == len(source)


def test_sources_with_and_without_errors_are_refused_by_name(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX)
    sources: list[Source] = [WithErrors(path), Hdf5Source(path)]
    for pair in (sources, sources[::-1]):
        with pytest.raises(SourceShapeError, match=r"a\.h5.* has errors .*a\.h5.* has none"):
            Concatenated(pair)


@pytest.mark.parametrize("times", [0, -1, 1.5, None])
def test_times_is_a_count(pair: Source, times: object) -> None:
    with pytest.raises(OptionError, match="times"):
        Repeated(pair, times)  # type: ignore[arg-type]


def test_wrappers_convert(pair: Source, tmp_path: Path) -> None:
    source = Concatenated([Repeated(pair, 2), Selected(pair, [0, 1])])
    store = convert(source, tmp_path / "store", groups="ids")
    assert len(store) == 2 * N_STARS + 2
    wanted = np.concatenate([FLUX, FLUX, FLUX[:2]])[store.source_row]
    assert np.array_equal(store.flux[:], wanted, equal_nan=True)
    for star in IDS:
        assert len(set(store.split[store.ids == star])) == 1


def other(path: Path, **changes: object) -> Source:
    """Return a source like the pair, with some of its datasets changed."""
    labels = {name: LABELS[:, number] for number, name in enumerate(LABEL_NAMES)}
    items = {"flux": FLUX, "wavelength": WAVELENGTH, **labels, **changes}
    return Hdf5Source(write_hdf5(path, **items), [*labels])


LABEL_NAMES = ("mass", "age", "l_bol", "dist", "teff", "logg", "fe_h", "snr")


def test_sources_of_different_formats_can_be_concatenated(pair: Source, tmp_path: Path) -> None:
    source = Concatenated([pair, other(tmp_path / "other.h5")])
    assert np.array_equal(source.ids, np.concatenate([IDS, np.arange(N_STARS)]))
    assert str(tmp_path / "other.h5") in source.name
    assert len(source.files) == 2


def test_row_numbers_stand_for_ids_that_no_source_has(tmp_path: Path) -> None:
    source = Concatenated([other(tmp_path / "a.h5"), other(tmp_path / "b.h5")])
    assert np.array_equal(source.ids, np.arange(2 * N_STARS))


def test_what_cannot_be_concatenated_is_refused_by_name(pair: Source, tmp_path: Path) -> None:
    wide = np.ones((N_STARS, N_PIXELS + 1), dtype=np.float32)
    grid = np.arange(1.0, N_PIXELS + 2)
    cases: list[tuple[Source, type[Exception]]] = [
        (other(tmp_path / "pixels.h5", flux=wide, wavelength=grid), SourceShapeError),
        (other(tmp_path / "grid.h5", wavelength=WAVELENGTH + 0.01), WavelengthError),
        (Hdf5Source(write_hdf5(tmp_path / "labels.h5", flux=FLUX)), LabelError),
    ]
    for source, error in cases:
        with pytest.raises(error) as caught:
            Concatenated([pair, source])
        assert pair.name in str(caught.value)
        assert source.name in str(caught.value)
    with pytest.raises(OptionError, match="at least one"):
        Concatenated([])


def test_units_must_agree(pair: Source, tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=LABELS[:, 0])
    with pytest.raises(LabelError, match="units"):
        Concatenated([Hdf5Source(path), Hdf5Source(path, ["teff[eV]"])])


def test_columns_of_integers_stay_integers_or_are_refused(tmp_path: Path) -> None:
    def with_visits(name: str, visits: object) -> Source:
        return Hdf5Source(write_hdf5(tmp_path / name, flux=FLUX, visit=visits), [])

    ints, more = with_visits("a.h5", LARGE), with_visits("b.h5", LARGE.astype(np.int32))
    column = Concatenated([ints, more]).read_column("visit")
    assert column.dtype == np.int64
    assert np.array_equal(column[:N_STARS], LARGE)
    for unlike in (LARGE.astype(np.uint64), LARGE.astype(np.float64)):
        with pytest.raises(LabelError, match="same integer dtype"):
            Concatenated([ints, with_visits("c.h5", unlike)]).read_column("visit")


class Noted(Hdf5Source):
    @property
    def notes(self) -> tuple[str, ...]:
        return ("two stars lack a camera",)


def test_notes_are_passed_on(pair: Source, tmp_path: Path) -> None:
    noted = Noted(write_hdf5(tmp_path / "a.h5", flux=FLUX))
    plain = Hdf5Source(write_hdf5(tmp_path / "b.h5", flux=FLUX))
    assert Selected(noted, [0]).notes == Repeated(noted, 2).notes == noted.notes
    assert Concatenated([plain, noted, Repeated(noted, 2)]).notes == 2 * noted.notes
    assert pair.notes == ()


class _Unchanged(MemorySource):
    """Flux on the same wavelengths as that of `_Changing`."""

    wavelength = np.linspace(5000.0, 5001.0, N_PIXELS)


class _Changing(_Unchanged):
    """Flux that is read from a folder, whose files tell nothing of it."""

    @property
    def folders(self) -> tuple[Path, ...]:
        return (Path("/raw"),)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda source: Selected(source, [0, 2]),
        lambda source: Repeated(source, 2),
        lambda source: Resampled(source, resolve_grid([5000.2, 5000.5])),
        lambda source: Concatenated([source, _Unchanged(FLUX[:3])]),
        lambda source: Concatenated([_Unchanged(FLUX[:3]), source]),
    ],
)
def test_a_wrapper_tells_that_the_spectra_of_its_source_changed_and_where_they_are(
    wrap: Callable[[Source], Source],
) -> None:
    wrapped = wrap(_Changing(FLUX))
    assert wrapped.fingerprint == wrap(_Changing(FLUX.copy())).fingerprint
    assert wrapped.fingerprint != wrap(_Changing(FLUX + 1)).fingerprint
    assert wrapped.folders == (Path("/raw"),)
