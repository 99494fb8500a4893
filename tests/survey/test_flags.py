"""The tables of flags and cuts of the releases."""

from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import OptionError
from galahstream.survey.flags import (
    DR3,
    DR4,
    Release,
    count_flags,
    recommended_conditions,
    release_of,
)

DR3_COLUMNS = ["star_id", "sobject_id", "flag_sp", "teff", "flag_fe_h", "snr_c3_iraf"]
DR4_COLUMNS = ["sobject_id", "gaiadr3_source_id", "flag_sp", "flag_fe_h", "snr_px_ccd3"]


def test_a_release_is_told_by_its_columns_in_any_case() -> None:
    assert release_of(DR3_COLUMNS) is DR3
    assert release_of(DR4_COLUMNS) is DR4
    assert release_of([name.upper() for name in DR4_COLUMNS]) is DR4
    assert release_of(["sobject_id", "teff", "flag_sp", "rv_com"]) is None
    assert release_of(DR3_COLUMNS + DR4_COLUMNS) is None


def test_the_recommended_cuts_are_those_of_the_release() -> None:
    assert recommended_conditions(DR3_COLUMNS, "t") == (
        "flag_sp == 0",
        "flag_fe_h == 0",
        "snr_c3_iraf > 30",
    )
    # flag_fe_h is there and not used: DR4's authors advise against it.
    assert recommended_conditions(DR4_COLUMNS, "t") == ("flag_sp == 0", "snr_px_ccd3 > 30")


@pytest.mark.parametrize("columns", [["sobject_id", "teff"], DR3_COLUMNS + DR4_COLUMNS, []])
def test_a_table_of_neither_release_has_no_recommended_cuts(columns: list[str]) -> None:
    with pytest.raises(OptionError, match=r"table\.fits: .*not those of GALAH DR3.*--where"):
        recommended_conditions(columns, "table.fits")


def test_a_column_that_the_cuts_need_and_lack_is_named() -> None:
    columns = [name for name in DR3_COLUMNS if name != "snr_c3_iraf"]
    with pytest.raises(OptionError, match=r"GALAH DR3 .* no column for snr_c3_iraf > 30"):
        recommended_conditions(columns, "table.fits")


@pytest.mark.parametrize("release", [DR3, DR4])
def test_each_bit_has_a_meaning(release: Release) -> None:
    assert list(release.flags) == [1 << power for power in range(len(release.flags))]
    assert all(release.flags.values())


def test_each_bit_is_counted_and_unused_ones_are_not_listed() -> None:
    counts = count_flags(np.array([0, 4, 5, 1 << 20, 4]), DR3)
    assert [(count.bit, count.meaning, count.stars) for count in counts] == [
        (1, "astrometry", 1),
        (4, "SNR below 10", 3),
        (1 << 20, "unknown in DR3", 1),
    ]
    assert count_flags(np.array([], dtype=np.int64), DR4) == ()
    assert count_flags(np.array([0, 0]), DR4) == ()


def test_a_negative_flag_hides_no_other() -> None:
    counts = count_flags(np.array([-1, 2, -9999, 3]), DR4)
    assert [(count.bit, count.stars) for count in counts] == [(1, 1), (2, 2)]


def test_the_page_on_catalogues_has_the_same_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "catalogues.md"
    for bit in DR4.flags:
        row = f"| {bit} | {DR3.flags.get(bit, '')} | {DR4.flags[bit]} |".replace("|  |", "| |")
        assert row in page.read_text(encoding="utf-8")
