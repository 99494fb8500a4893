"""How users name labels, and what becomes of it."""

from collections.abc import Sequence

import numpy as np
import pytest

from galahstream.errors import LabelError
from galahstream.survey.labels import (
    DEFAULT_LABELS,
    KNOWN_LABELS,
    LabelChoice,
    LabelColumnChoice,
    chosen_labels,
    galah_name,
)


def test_the_default_labels_are_among_those_of_the_published_set() -> None:
    assert set(DEFAULT_LABELS) < set(KNOWN_LABELS)


@pytest.mark.parametrize(
    "choice", ["teff", ["teff"], ("teff",), np.array(["teff"]), {"teff": "teff"}]
)
def test_one_label_can_be_given_as_text_sequence_array_or_mapping(choice: LabelChoice) -> None:
    assert chosen_labels(choice, ()) == (LabelColumnChoice("teff", "K", "teff"),)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("teff=T_EFF", ("teff", "K", "T_EFF")),
        ("feh[dex]=FE_H", ("feh", "dex", "FE_H")),
        (" vsini[km/s] ", ("vsini", "km/s", "vsini")),
        ("teff[]=0", ("teff", "", "0")),
    ],
)
def test_an_entry_names_label_unit_and_column(entry: str, expected: Sequence[str]) -> None:
    assert chosen_labels([entry], ()) == (LabelColumnChoice(*expected),)


def test_numbers_of_columns_may_be_numpy_integers() -> None:
    assert chosen_labels({"teff": np.int64(3)}, ())[0].column == "3"  # type: ignore[dict-item]


def test_no_choice_takes_every_column_under_galah_names() -> None:
    names = [choice.name for choice in chosen_labels(None, ("t_eff", "log_g", "vsini"))]
    assert names == ["teff", "logg", "vsini"]
    assert galah_name("SNR") == "snr"


@pytest.mark.parametrize("entry", ["", "t eff", "=T_EFF", "teff[K", 7, None])
def test_entries_that_cannot_be_read_are_named(entry: object) -> None:
    with pytest.raises(LabelError, match="cannot be read"):
        chosen_labels([entry], ())  # type: ignore[list-item]


def test_a_name_is_given_once() -> None:
    with pytest.raises(LabelError, match="'teff' is named twice"):
        chosen_labels(["teff", "teff=T_EFF"], ())
