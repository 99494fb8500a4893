"""The lines that describe a store to people."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from galahstream.cli.text import store_lines
from galahstream.conversion.convert import convert
from galahstream.store import Store
from galahstream.survey.provenance import Provenance
from tests.conftest import Pair


@pytest.fixture
def store(pair: Pair) -> Iterator[Store]:
    with convert(pair.folder, pair.folder.parent / "described", progress=False) as store:
        yield store


@pytest.mark.parametrize(
    ("provenance", "line"),
    [
        (
            Provenance("GALAH", "DR3", "FitsSource", "rest", "hermes", "linear"),
            "spectra     GALAH DR3, rest frame, grid hermes (linear)",
        ),
        (Provenance(survey="LAMOST"), "spectra     LAMOST"),
        (Provenance(frame="observed", grid="mine"), "spectra     observed frame, grid mine"),
    ],
)
def test_info_says_survey_frame_and_grid(store: Store, provenance: Provenance, line: str) -> None:
    assert line in store_lines(replace(store.describe(), provenance=provenance))


def test_info_is_silent_about_what_a_source_does_not_say(store: Store) -> None:
    described = replace(store.describe(), provenance=Provenance(reader="PairSource"))
    assert not any(line.startswith("spectra") for line in store_lines(described))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"chunk_rows": 4}, "hdf5 float32 in chunks of 4 rows,"),
        ({"compression": "gzip"}, "hdf5 float32 with gzip,"),
        ({}, "hdf5 float32,"),
    ],
)
def test_info_says_how_flux_is_chunked(pair: Pair, options: dict[str, Any], text: str) -> None:
    path = pair.folder.parent / "chunked.h5"
    with convert(pair.folder, path, progress=False, **options) as store:
        assert text in store_lines(store.describe())[0]
