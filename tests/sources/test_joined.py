"""Sources joined with catalogues: who is matched, what the labels are, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galahstream.errors import LabelError, OptionError, SourceFormatError, SourceShapeError
from galahstream.sources.base import Source, Spectra
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.joined import JoinedSource, catalogue_labels
from galahstream.sources.matching import Match, match_stars
from galahstream.sources.memory import MemorySource
from galahstream.sources.resampled import Resampled
from galahstream.sources.wrappers import Concatenated, Selected
from galahstream.survey.grids import resolve_grid
from galahstream.survey.selection import Cut
from tests.sources.files import write_star
from tests.sources.tables import DR4, GAIA, SOBJECT, TMASS, UNITS, dr3, write_table


def memory(ids: npt.NDArray[np.int64], **columns: Any) -> MemorySource:
    """Return stars whose flux tells which they are."""
    flux = np.arange(len(ids), dtype=np.float32)[:, np.newaxis] + np.linspace(0, 0.5, 4)
    return MemorySource(flux.astype(np.float32), {"sobject_id": ids, **columns})


def joined(tmp_path: Path, source: Source, columns: Any = DR4, labels: Any = None) -> JoinedSource:
    catalogue = Catalogue(write_table(tmp_path / "catalogue.csv", columns))
    match = match_stars(source, catalogue, "sobject_id")
    return JoinedSource(source, catalogue, match, catalogue_labels(catalogue, labels))


def test_stars_are_matched_by_id_whatever_the_order(tmp_path: Path) -> None:
    ids = SOBJECT[[5, 0, 3]]
    source = joined(tmp_path, memory(np.append(ids, 7)))
    assert source.label_names == ("teff", "e_teff", "logg", "fe_h")
    teff, e_teff = source.read_labels()[:, :2].T
    assert teff[:2].tolist() == [6000.0, 5772.0]
    assert np.isnan(teff[2:]).all()  # 999999 is missing, and the last has no match
    assert e_teff[:3].tolist() == [110.0, 60.0, 90.0]
    assert np.isnan(source.read_labels()[3]).all()
    assert source.ids.tolist() == [*ids.tolist(), 7]


def test_labels_have_units_errors_and_any_spelling(tmp_path: Path) -> None:
    catalogue = Catalogue(
        write_table(tmp_path / "t", {**DR4, "e_Mg_fe": DR4["Mg_fe"]}, "ecsv", UNITS)
    )
    choices = catalogue_labels(catalogue, ["teff", "mg_fe", "snr=snr_px_ccd3", "v=rv_comp_1"])
    assert [(choice.name, choice.unit.replace(" ", ""), choice.column) for choice in choices] == [
        ("teff", "K", "teff"),
        ("e_teff", "K", "e_teff"),
        ("mg_fe", "", "Mg_fe"),
        ("e_mg_fe", "", "e_Mg_fe"),
        ("snr", "", "snr_px_ccd3"),
        ("v", "km/s", "rv_comp_1"),
    ]
    choices = catalogue_labels(catalogue, ["e_teff", "teff", "sigma=e_Mg_fe", "mg_fe"])
    assert [choice.name for choice in choices] == ["e_teff", "teff", "sigma", "mg_fe"]


def test_a_label_in_another_unit_is_refused_unless_it_is_named_so(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t", DR4, "ecsv", {"teff": "kK", "logg": "dex"})
    catalogue = Catalogue(path)
    with pytest.raises(LabelError, match=r"'teff': its unit is 'kK', and teff is in K.*teff\[kK\]"):
        catalogue_labels(catalogue, None)
    (choice, error) = catalogue_labels(catalogue, ["teff[kK]"])
    assert (choice.unit, error.unit) == ("kK", "kK")


def test_a_missing_default_label_is_named(tmp_path: Path) -> None:
    columns = {"sobject_id": SOBJECT, "teff_r": SOBJECT}
    catalogue = Catalogue(write_table(tmp_path / "t.csv", columns))
    with pytest.raises(LabelError, match="no column 'teff'; similar are teff_r"):
        catalogue_labels(catalogue, None)


def test_an_id_is_no_label(tmp_path: Path) -> None:
    source = joined(tmp_path, memory(SOBJECT), labels=["gaiadr3_source_id"])
    with pytest.raises(LabelError, match=r"beyond 2\*\*53.*groups="):
        source.read_labels()


@pytest.mark.parametrize(
    ("join", "column", "values"),
    [
        ("tmass_id", "tmass_id", np.array(["zz", "b", "05505952+0759226", "", "None"])),
        ("gaiadr3_source_id", "gaiadr3_source_id", GAIA[[5, 3, 0, 5, 5]] + [9, 0, 0, 9, 9]),
        (
            "gaiadr3_source_id",
            "gaiadr3_source_id",
            np.array(["1", str(GAIA[3]), str(GAIA[0]), "None", ""]),
        ),
    ],
)
def test_visits_are_matched_by_the_id_of_their_star(
    tmp_path: Path, join: Any, column: str, values: npt.NDArray[Any]
) -> None:
    once = {name: np.delete(array, 2) for name, array in DR4.items()}
    once["tmass_id"] = np.array(["05505952+0759226", "a", "b", "c", ""])
    catalogue = Catalogue(write_table(tmp_path / "t.csv", once))
    source: Source = WithColumn(memory(SOBJECT[:5] + 100), column, values)
    match = match_stars(source, catalogue, join)
    assert match.catalogue_rows.tolist() == [-1, 2, 0, -1, -1]


class WithColumn(Selected):
    """A source with another column."""

    def __init__(self, source: Source, name: str, values: npt.NDArray[Any]) -> None:
        super().__init__(source, np.arange(len(source)))
        self._column_name, self._values = name, values

    def read_column(self, name: str) -> npt.NDArray[Any]:
        return self._values if name == self._column_name else super().read_column(name)


def test_visits_of_dr4_files_are_matched_by_the_ids_in_their_headers(
    tmp_path: Path,
) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    for star, tmass in ((SOBJECT[0] + 500, "b"), (SOBJECT[0] + 501, "None")):
        write_star(tmp_path / "in", int(star), "dr4->f4")
        for path in (tmp_path / "in").glob(f"{star}?.fits"):
            fits.setval(path, "2MASS_ID", value=tmass)
            fits.setval(path, "GAIA_ID", value=str(GAIA[3]))
    once = {name: np.delete(array, 2) for name, array in DR4.items()}
    catalogue = Catalogue(write_table(tmp_path / "t.csv", once))
    source = FitsSource(tmp_path / "in")
    assert match_stars(source, catalogue, "tmass_id").catalogue_rows.tolist() == [2, -1]
    assert match_stars(source, catalogue, "gaiadr3_source_id").catalogue_rows.tolist() == [2, 2]


def test_ids_in_headers_are_found_in_tiles_and_a_damaged_file_has_none(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    folder = tmp_path / "in"
    for star in SOBJECT[:3].tolist():
        write_star(folder, star, "dr4->f4", cameras="1")
        fits.setval(folder / f"{star}1.fits", "2MASS_ID", value=f"star {star}")
    tiled, damaged = (folder / f"{star}1.fits" for star in SOBJECT[:2].tolist())
    with fits.open(tiled) as extensions:
        images = [fits.CompImageHDU(each.data, each.header) for each in extensions]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / f"{tiled.name}.fz")
    tiled.unlink()
    ids = [f"star {star}" for star in SOBJECT[:3].tolist()]
    assert FitsSource(folder).read_column("tmass_id").tolist() == ids
    source, skipping = FitsSource(folder), FitsSource(folder, "skip")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert skipping.read_column("tmass_id").tolist() == [ids[0], "", ids[2]]
    with pytest.raises(SourceFormatError, match=damaged.name):
        source.read_column("tmass_id")


def test_a_source_without_the_id_is_named(tmp_path: Path) -> None:
    once = {name: np.delete(array, 2) for name, array in DR4.items()}
    catalogue = Catalogue(write_table(tmp_path / "t.csv", once))
    with pytest.raises(OptionError, match="flux array: its stars have no tmass_id"):
        match_stars(memory(SOBJECT), catalogue, "tmass_id")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"sobject_id": SOBJECT[[0, 1, 2, 1, 0, 5]]},
            "2 ids are in several rows .*; the first in rows 1, 5",
        ),
        ({"sobject_id": SOBJECT.astype(float)}, "float64"),
        (
            {"sobject_id": np.ma.masked_array(SOBJECT, np.isin(np.arange(6), [2, 5]))},
            r"no id in 2 of 6 rows \(row 3, 6",
        ),
        ({"sobject_id": SOBJECT * [1, 1, 0, 1, -1, 1]}, r"no id in 2 of 6 rows \(row 3, 5"),
    ],
)
def test_ids_of_a_catalogue_that_do_not_tell_stars_apart_are_refused(
    tmp_path: Path, change: Any, reason: str
) -> None:
    catalogue = Catalogue(write_table(tmp_path / "t.csv", {**DR4, **change}))
    with pytest.raises(SourceShapeError, match=rf"t\.csv, column 'sobject_id': .*{reason}"):
        match_stars(memory(SOBJECT), catalogue, "sobject_id")


def test_several_visits_of_a_star_in_the_catalogue_cannot_be_joined_by_star(tmp_path: Path) -> None:
    catalogue = Catalogue(write_table(tmp_path / "t.csv", DR4))
    source = memory(SOBJECT, gaiadr3_source_id=GAIA)
    with pytest.raises(SourceShapeError, match=rf"1 ids are in several rows \({GAIA[1]}; "):
        match_stars(source, catalogue, "gaiadr3_source_id")


def test_a_catalogue_without_ids_names_those_that_it_has(tmp_path: Path) -> None:
    columns = {name: values for name, values in DR4.items() if name != "sobject_id"}
    catalogue = Catalogue(write_table(tmp_path / "t.csv", columns))
    with pytest.raises(OptionError, match="no column sobject_id; join by tmass_id or gaiadr3"):
        match_stars(memory(SOBJECT), catalogue, "sobject_id")
    catalogue = Catalogue(write_table(tmp_path / "t.csv", {"teff": SOBJECT}))
    with pytest.raises(OptionError, match="no column sobject_id; it needs star ids"):
        match_stars(memory(SOBJECT), catalogue, "sobject_id")


def test_stars_of_which_none_is_in_the_catalogue_are_refused(tmp_path: Path) -> None:
    catalogue = Catalogue(write_table(tmp_path / "t.csv", DR4))
    with pytest.raises(OptionError, match=rf"none of the 3 stars .*such as 1\).*{SOBJECT[0]}"):
        match_stars(memory(np.array([1, 2, 3])), catalogue, "sobject_id")
    with pytest.raises(OptionError, match="expected the same kind of id in both"):
        text = {**DR4, "sobject_id": np.array(list("abcdef"))}
        match_stars(memory(SOBJECT), Catalogue(write_table(tmp_path / "u.csv", text)), "sobject_id")


def test_columns_to_group_by_stay_exact_and_a_star_without_a_value_is_alone(tmp_path: Path) -> None:
    source = joined(tmp_path, memory(np.append(SOBJECT, [5, 6])))
    assert source.group_column == "tmass_id"
    groups = source.read_column("tmass_id")
    assert groups[:5].tolist() == TMASS[:5].tolist()
    assert len(set(groups.tolist())) == 7  # the five of TMASS[:5] are four
    gaia = source.read_column("gaiadr3_source_id")
    assert gaia[:6].tolist() == GAIA.tolist()
    assert len(set(gaia.tolist())) == 7
    assert source.read_column("flag_sp")[:6].tolist() == DR4["flag_sp"].tolist()
    both = Concatenated([source, Selected(source, [0, 1])])
    assert both.group_column == "tmass_id"
    assert both.read_column("tmass_id")[-2:].tolist() == TMASS[:2].tolist()
    with pytest.raises(LabelError, match=r"'no_such'.*teff"):
        source.read_column("no_such")


def test_dr3_groups_by_star_id(tmp_path: Path) -> None:
    source = joined(tmp_path, memory(SOBJECT), dr3())
    assert source.group_column == "star_id"
    assert [count.bit for count in source.count_flags(np.arange(6))] == [1, 2048]


def test_flags_are_those_of_the_stars_asked_for(tmp_path: Path) -> None:
    source = joined(tmp_path, memory(np.append(SOBJECT, 7)))
    counts = source.count_flags(np.array([2, 4, 6]))
    assert [(count.bit, count.meaning, count.stars) for count in counts] == [
        (1, "emission", 2),
        (2048, "low SNR", 1),
    ]
    assert source.count_flags(np.array([0, 1])) == ()
    assert Selected(source, [0, 2]).count_flags(np.array([1]))[0].stars == 1


class Observed(MemorySource):
    """Stars with wavelengths and an error of each pixel."""

    wavelength = np.array([5000.0, 5001.0, 5002.0, 5003.0])
    has_errors = True

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for flux in self.iter_blocks(block_rows, first_row):
            yield Spectra(flux, flux * np.float32(0.1))


def test_errors_of_the_spectra_stay_with_their_stars(tmp_path: Path) -> None:
    flux = np.arange(1, 25, dtype=np.float32).reshape(6, 4)
    catalogue = Catalogue(write_table(tmp_path / "t.csv", DR4))
    observed = Observed(flux, {"sobject_id": SOBJECT})
    kept = match_stars(observed, catalogue, "sobject_id").selected(np.arange(6) % 2 == 1)
    source = JoinedSource(observed, catalogue, kept, ())
    assert source.has_errors
    spectra = list(source.iter_spectra(2))
    error = np.concatenate([each.error for each in spectra if each.error is not None])
    assert np.array_equal(error, flux[[1, 3, 5]] * np.float32(0.1))
    assert np.array_equal(np.concatenate([each.flux for each in spectra]), flux[[1, 3, 5]])


def test_what_a_join_knows_is_known_of_its_resampled_spectra(tmp_path: Path) -> None:
    observed = Observed(np.ones((6, 4), dtype=np.float32), {"sobject_id": SOBJECT})
    catalogue = Catalogue(write_table(tmp_path / "t.csv", DR4))
    match = match_stars(observed, catalogue, "sobject_id")
    source = JoinedSource(observed, catalogue, match, (), (Cut("teff > 1", 2),), ("a note",))
    resampled = Resampled(source, resolve_grid([5000.5, 5001.5]))
    assert resampled.cuts == source.cuts
    assert resampled.group_column == "tmass_id"
    assert resampled.notes == source.notes
    rows = np.arange(6)
    assert [count.bit for count in resampled.count_flags(rows)] == [1, 2048]
    assert resampled.read_column("tmass_id").tolist() == source.read_column("tmass_id").tolist()


class ShiftedSource(MemorySource):
    """A source like DR4's files: it selects stars itself and needs their velocities."""

    velocities: npt.NDArray[np.float64] = np.empty(0)
    needs_velocities = True

    @property
    def notes(self) -> tuple[str, ...]:
        return (str(self.velocities.tolist()),)

    def selected(self, rows: npt.NDArray[np.int64]) -> Source:
        self.selected_rows = rows.tolist()
        return ShiftedSource(self._flux[rows], {"sobject_id": self.ids[rows]})

    def with_velocities(self, velocities: npt.NDArray[np.float64]) -> Source:
        source = ShiftedSource(self._flux, {"sobject_id": self.ids})
        source.velocities = velocities
        return source


def test_a_source_that_needs_velocities_gets_those_of_the_catalogue(tmp_path: Path) -> None:
    flux = np.ones((7, 4), dtype=np.float32)
    source = ShiftedSource(flux, {"sobject_id": np.append(SOBJECT, 7)})
    catalogue = Catalogue(write_table(tmp_path / "t", DR4, "ecsv", UNITS))
    match = match_stars(source, catalogue, "sobject_id")
    kept = Match(match.rows[[1, 4, 6]], match.catalogue_rows[[1, 4, 6]])
    result = JoinedSource(source, catalogue, kept, ())
    assert source.selected_rows == [1, 4, 6]
    assert result.ids.tolist() == [*SOBJECT[[1, 4]].tolist(), 7]
    assert result.notes == ("[10.0, nan, nan]",)
    other = write_table(tmp_path / "u", DR4, "ecsv", {"rv_comp_1": "m/s"})
    with pytest.raises(LabelError, match=r"'rv_comp_1': its unit is 'm.*expected km/s"):
        JoinedSource(source, Catalogue(other), kept, ())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_star_gets_the_row_of_its_id(data: st.DataObject, tmp_path: Path) -> None:
    ids = st.integers(1, 2**63 - 1)
    theirs = data.draw(st.lists(ids, min_size=1, max_size=12, unique=True))
    ours = data.draw(st.lists(st.one_of(ids, st.sampled_from(theirs)), min_size=1, max_size=12))
    ours.append(theirs[-1])
    columns = {"sobject_id": np.array(theirs), "row": np.arange(len(theirs))}
    catalogue = Catalogue(write_table(tmp_path / "t.csv", columns))
    match = match_stars(memory(np.array(ours)), catalogue, "sobject_id")
    expected = [theirs.index(star) if star in theirs else -1 for star in ours]
    assert match.catalogue_rows.tolist() == expected
