"""Every source and every wrapper passes the contract."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.mock.source import MockSource
from galahstream.sources.base import Source
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.hdf5 import Hdf5Source
from galahstream.sources.joined import JoinedSource, catalogue_labels
from galahstream.sources.matching import match_stars
from galahstream.sources.memory import MemorySource
from galahstream.sources.npy import NpyPairSource
from galahstream.sources.wrappers import Concatenated, Repeated, Selected
from tests.sources.contract import SourceContract
from tests.sources.files import (
    FLUX,
    IDS,
    LABELS,
    LARGE,
    STAR,
    WAVELENGTH,
    WithErrors,
    chunked_hdf5,
    table_hdf5,
    write_hdf5,
    write_pair,
    write_star,
)
from tests.sources.tables import write_table

MakeSource = Callable[[Path], Source]


def pair(folder: Path, order: str = "C", dtype: str = "<f4") -> Source:
    flux = np.asarray(FLUX.astype(dtype), order="F" if order == "F" else "C")
    write_pair(folder / "pair", flux)
    return NpyPairSource(folder / "pair" / "spectra.npy", folder / "pair" / "labels.npy")


def spectra_alone(folder: Path) -> Source:
    np.save(folder / "spectra.npy", FLUX)
    return NpyPairSource(folder / "spectra.npy", None)


def integer_labels(folder: Path) -> Source:
    np.save(folder / "spectra.npy", FLUX)
    np.save(folder / "labels.npy", np.arange(len(FLUX) * 2).reshape(-1, 2))
    return NpyPairSource(folder / "spectra.npy", folder / "labels.npy", ["visit", "field"])


def memory_map(folder: Path) -> Source:
    np.save(folder / "spectra.npy", FLUX)
    return MemorySource(np.load(folder / "spectra.npy", mmap_mode="r"))


def joined_with_a_catalogue(folder: Path) -> Source:
    columns = {"sobject_id": IDS[::-1], "teff": LABELS[:, 0], "visit": LARGE, "field": LARGE % 7}
    catalogue = Catalogue(write_table(folder / "catalogue.csv", columns))
    source = MemorySource(FLUX, {"ids": IDS + np.arange(len(IDS)) // 20})
    match = match_stars(source, catalogue, "sobject_id").selected(np.arange(len(FLUX)) % 5 != 1)
    return JoinedSource(source, catalogue, match, catalogue_labels(catalogue, ["teff", "field"]))


class PlainSource(Source):
    """The least that a source can be."""

    name, n_pixels = "plain", FLUX.shape[1]

    def __len__(self) -> int:
        return len(FLUX)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        for start in range(first_row, len(self), block_rows):
            yield FLUX[start : start + block_rows]


ARRAYS: dict[str, MakeSource] = {
    "plain": lambda _: PlainSource(),
    "npy C": pair,
    "npy Fortran": partial(pair, order="F"),
    "npy Fortran float64": partial(pair, order="F", dtype=">f8"),
    "npy float16": partial(pair, dtype=">f2"),
    "npy without labels": spectra_alone,
    "npy integer labels": integer_labels,
    "hdf5 contiguous": lambda folder: Hdf5Source(chunked_hdf5(folder / "a.h5")),
    "hdf5 rows": lambda folder: Hdf5Source(chunked_hdf5(folder / "a.h5", chunks=(1, 40))),
    "hdf5 tall": lambda folder: Hdf5Source(chunked_hdf5(folder / "a.h5", chunks=(9, 7))),
    "hdf5 gzip": lambda folder: Hdf5Source(
        chunked_hdf5(folder / "a.h5", chunks=(5, 40), compression="gzip")
    ),
    "hdf5 table": lambda folder: Hdf5Source(table_hdf5(folder / "a.h5")),
    "memory": lambda _: MemorySource(FLUX, LABELS),
    "memory float64 Fortran": lambda _: MemorySource(np.asfortranarray(FLUX.astype(">f8"))),
    "memory strided": lambda _: MemorySource(np.repeat(FLUX, 2, axis=1)[::-1, ::2], LABELS[::-1]),
    "memory mapping": lambda _: MemorySource(
        FLUX, {"teff": LABELS[:, 0], "visit": np.arange(len(FLUX)), "large": LARGE, "ids": IDS}
    ),
    "memory lists": lambda _: MemorySource(FLUX.tolist(), LABELS.tolist()),
    "memory map": memory_map,
    "joined with a catalogue": joined_with_a_catalogue,
    "hdf5 without labels": lambda folder: Hdf5Source(write_hdf5(folder / "a.h5", data=FLUX)),
}


class TestArrays(SourceContract):
    @pytest.fixture(params=ARRAYS)
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Source:
        return ARRAYS[request.param](tmp_path)


class TestSyntheticFits(SourceContract):
    @pytest.fixture(scope="class", params=["dr3", "dr4->f4", "dr4->f8"])
    @classmethod
    def source(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Source:
        folder = tmp_path_factory.mktemp("stars")
        write_star(folder, STAR, request.param)
        write_star(folder, STAR + 1, request.param, cameras="13")
        write_star(folder, STAR + 5, request.param)
        write_star(folder, STAR + 7, request.param, pixels=4111)
        return FitsSource(folder, "skip")


@pytest.mark.slow
class TestRealFits(SourceContract):
    @pytest.fixture(params=["galah_dr3", "galah_dr4"])
    def source(self, request: pytest.FixtureRequest, real_data: Path) -> Source:
        pytest.importorskip("astropy")
        return FitsSource(real_data / request.param, "skip")


class TestMock(SourceContract):
    @pytest.fixture(scope="class", params=["observed", "rest"])
    @classmethod
    def source(cls, request: pytest.FixtureRequest) -> Source:
        return MockSource(5, seed=1, frame=request.param, jobs=1)


WRAPPERS: dict[str, Callable[[Source, Source], Source]] = {
    "selected": lambda one, _: Selected(one, [0, 3, 4, 11, 22]),
    "selected by booleans": lambda one, _: Selected(one, np.arange(len(one)) % 3 == 1),
    "repeated": lambda one, _: Repeated(one, 3),
    "concatenated": lambda one, other: Concatenated([one, other]),
    "all of them": lambda one, other: Selected(
        Concatenated([Repeated(one, 2), Selected(other, range(2, 9)), other]), range(5, 70, 3)
    ),
}


class TestWrappers(SourceContract):
    reader: type[Hdf5Source] = Hdf5Source

    @pytest.fixture(params=WRAPPERS)
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Source:
        one = self.reader(table_hdf5(tmp_path / "one.h5"))
        other = write_hdf5(
            tmp_path / "other.h5",
            **{f"label_{number}": LABELS[:, number] for number in range(8)},
            ids=IDS + 1000,
            wavelength=WAVELENGTH,
            source_id=LARGE,
            flux=FLUX[:, ::-1],
        )
        return WRAPPERS[request.param](one, self.reader(other))


@pytest.mark.slow
class TestWrappersOfSourcesWithErrors(TestWrappers):
    reader = WithErrors
