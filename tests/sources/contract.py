"""What every source must do: a test class to derive from, with a fixture that gives the source."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import LabelError
from galahstream.sources.base import SkippedStar, Source
from galahstream.sources.open import open_source

_SHARED_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def read_all(source: Source, block_rows: int, first_row: int = 0) -> npt.NDArray[np.float32]:
    """Return the flux from a row on, after checking the blocks."""
    blocks = list(source.iter_blocks(block_rows, first_row))
    for block in blocks:
        assert block.dtype == np.float32
        assert block.dtype.isnative
        assert block.ndim == 2
        assert 1 <= len(block) <= block_rows
        assert block.shape[1] == source.n_pixels
        assert block.flags.c_contiguous
    return np.concatenate([np.empty((0, source.n_pixels), dtype=np.float32), *blocks])


def read_errors(source: Source, block_rows: int, first_row: int = 0) -> npt.NDArray[np.float32]:
    """Return the errors from a row on, after checking that they come with the flux."""
    expected = read_all(source, block_rows, first_row)
    errors = [np.empty((0, source.n_pixels), dtype=np.float32)]
    n_read = 0
    for flux, error in source.iter_spectra(block_rows, first_row):
        assert 1 <= len(flux) <= block_rows
        assert flux.tobytes() == expected[n_read : n_read + len(flux)].tobytes()
        assert error is not None
        assert error.dtype == np.float32
        assert error.shape == flux.shape
        assert error.flags.c_contiguous
        errors.append(error)
        n_read += len(flux)
    assert n_read == len(expected)
    return np.concatenate(errors)


class SourceContract:
    """Tests that every :class:`Source` passes; a subclass overrides the fixture ``source``."""

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError

    def test_it_has_a_name_stars_and_pixels(self, source: Source) -> None:
        assert isinstance(source, Source)
        assert type(source.name) is str
        assert source.name
        assert "\n" not in source.name
        assert len(source) >= 1
        assert type(source.n_pixels) is int
        assert source.n_pixels >= 1

    def test_open_source_gives_it_back(self, source: Source) -> None:
        assert open_source(source) is source

    def test_its_wavelengths_are_float64_in_angstrom(self, source: Source) -> None:
        if source.wavelength is not None:
            assert source.wavelength.dtype == np.float64
            assert source.wavelength.shape == (source.n_pixels,)

    def test_its_labels_have_names_units_and_columns(self, source: Source) -> None:
        names, units, labels = source.label_names, source.label_units, source.read_labels()
        assert isinstance(names, tuple)
        assert isinstance(units, tuple)
        assert len(set(names)) == len(names) == len(units)
        assert all(type(text) is str for text in names + units)
        assert labels.shape == (len(source), len(names))
        assert labels.dtype == np.float64
        assert np.array_equal(labels, source.read_labels(), equal_nan=True)

    def test_its_ids_are_int64(self, source: Source) -> None:
        assert source.ids.dtype == np.int64
        assert source.ids.shape == (len(source),)

    def test_its_columns_are_its_ids_and_labels_in_their_own_dtype(self, source: Source) -> None:
        assert np.array_equal(source.read_column("ids"), source.ids)
        labels = source.read_labels()
        for index, name in enumerate(source.label_names):
            column = source.read_column(name)
            assert column.shape == (len(source),)
            assert column.dtype.kind in "fiu"
            assert np.array_equal(column.astype(np.float64), labels[:, index], equal_nan=True)

    def test_a_column_that_it_lacks_is_named(self, source: Source) -> None:
        with pytest.raises(LabelError, match="'no such column'"):
            source.read_column("no such column")

    def test_its_files_exist(self, source: Source) -> None:
        assert isinstance(source.files, tuple)
        assert all(isinstance(path, Path) and path.is_file() for path in source.files)

    def test_its_skipped_stars_are_not_among_its_stars(self, source: Source) -> None:
        assert isinstance(source.skipped, tuple)
        assert all(isinstance(star, SkippedStar) for star in source.skipped)
        assert not {star.star_id for star in source.skipped} & set(source.ids.tolist())

    def test_its_notes_are_lines_of_text(self, source: Source) -> None:
        assert isinstance(source.notes, tuple)
        assert all(type(note) is str and note and note.isprintable() for note in source.notes)

    def test_its_flux_is_the_same_each_time(self, source: Source) -> None:
        flux = read_all(source, 7)
        assert flux.shape == (len(source), source.n_pixels)
        assert flux.tobytes() == read_all(source, 7).tobytes()

    def test_its_errors_come_with_its_flux_if_it_has_them(self, source: Source) -> None:
        assert type(source.has_errors) is bool
        if source.has_errors:
            assert read_errors(source, 7).tobytes() == read_errors(source, len(source)).tobytes()
            return
        blocks = list(source.iter_spectra(7))
        assert all(error is None for _, error in blocks)
        flux = np.concatenate([flux for flux, _ in blocks])
        assert flux.tobytes() == read_all(source, 7).tobytes()

    @pytest.mark.slow
    @settings(max_examples=8, deadline=None, suppress_health_check=_SHARED_FIXTURE)
    @given(data=st.data())
    def test_blocks_of_any_size_from_any_row_hold_the_same_spectra(
        self, source: Source, data: st.DataObject
    ) -> None:
        expected = read_all(source, len(source))
        block_rows = data.draw(st.integers(1, len(source) + 3), label="block_rows")
        first_row = data.draw(st.integers(0, len(source)), label="first_row")
        flux = read_all(source, block_rows, first_row)
        assert flux.tobytes() == expected[first_row:].tobytes()
        if source.has_errors:
            errors = read_errors(source, block_rows, first_row)
            assert errors.tobytes() == read_errors(source, len(source))[first_row:].tobytes()

    def test_a_reader_may_stop_early(self, source: Source) -> None:
        blocks = source.iter_blocks(1)
        first = next(blocks).copy()
        del blocks
        assert first.tobytes() == next(source.iter_blocks(1)).tobytes()
