"""Stores made with a catalogue: cuts counted by hand, groups, what is recorded, what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion.options import CatalogueOptions, ConvertOptions
from galahstream.conversion.repair import repair
from galahstream.conversion.run import convert_with
from galahstream.errors import BadSpectraError, GalahStreamError, OptionError
from galahstream.sources import catalogue_formats
from galahstream.sources.npy import NpyFile
from galahstream.store import Store
from galahstream.survey.selection import Cut
from tests.conftest import make_pair
from tests.faults.interrupted import contents
from tests.sources.files import write_hdf5, write_star
from tests.sources.tables import DR4, FORMATS, SOBJECT, UNITS, dr3, write_table

# The first six are in the catalogue, the seventh is not.
IDS = np.append(SOBJECT, SOBJECT[-1] + 500)
FLUX = np.linspace(0.5, 1.5, 7 * 16, dtype=np.float32).reshape(7, 16)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Spectra without labels, with ids and wavelengths beside them."""
    folder = tmp_path / "raw"
    folder.mkdir()
    np.save(folder / "spectra.npy", FLUX)
    np.save(folder / "ids.npy", IDS)
    np.save(folder / "wavelength.npy", np.linspace(5000, 5001, 16))
    return folder


@pytest.fixture
def dr4(tmp_path: Path) -> Path:
    return write_table(tmp_path / "dr4.csv", DR4)


def convert(source: Any, tmp_path: Path, catalogue: Path, **options: Any) -> Store:
    """Convert all stars into one split, which small numbers of stars allow."""
    options = {"split": (1, 0, 0), "progress": False, **options}
    return gs.convert(source, tmp_path / "store", catalogue=catalogue, **options)


def stars(store: Store) -> list[int]:
    """Return the positions in IDS of the stars of a store."""
    return sorted(np.searchsorted(IDS, store.ids).tolist())


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_of_each_format_reach_the_store(raw: Path, tmp_path: Path, kind: str) -> None:
    catalogue = write_table(tmp_path / "table", DR4, kind, UNITS)
    store = convert(raw, tmp_path, catalogue)
    assert list(store.labels) == ["teff", "e_teff", "logg", "fe_h"]
    assert store.label_units == {"teff": "K", "e_teff": "K", "logg": "dex", "fe_h": "dex"}
    teff = dict(zip(store.ids.tolist(), store.labels["teff"].tolist(), strict=True))
    assert [teff[star] for star in IDS[[0, 1, 4, 5]].tolist()] == [5772.0, 4500.5, 4100.0, 6000.0]
    assert np.isnan([teff[star] for star in IDS[[2, 3, 6]].tolist()]).all()
    assert np.array_equal(store.flux[:], FLUX[store.source_row])


@pytest.mark.parametrize(
    ("options", "left", "cuts"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6], []),
        ({"unmatched": "skip"}, [0, 1, 2, 3, 4, 5], [("star is in the catalogue", 1, 0)]),
        (
            {"select": "recommended"},
            [0, 1, 5],
            # Stars 2 and 4 have flags, 6 has no match; then 3 has a ratio of 29.9.
            [("flag_sp == 0", 3, 1), ("snr_px_ccd3 > 30", 1, 0)],
        ),
        ({"where": "teff > 4200"}, [0, 1, 5], [("teff > 4200", 4, 3)]),
        ({"where": "not teff > 4200"}, [4], [("not teff > 4200", 6, 3)]),
        (
            {"select": "recommended", "where": "teff > 5000 and mg_fe > 0.5", "unmatched": "skip"},
            [5],
            [
                ("star is in the catalogue", 1, 0),
                ("flag_sp == 0", 2, 0),
                ("snr_px_ccd3 > 30", 1, 0),
                ("teff > 5000", 1, 0),
                ("mg_fe > 0.5", 1, 0),
            ],
        ),
        (
            {"where": "flag_sp & 2048 == 0 and logg < 3"},
            [1],
            [("flag_sp & 2048 == 0", 2, 1), ("logg < 3", 4, 1)],
        ),
    ],
)  # fmt: skip
def test_cuts_remove_what_was_counted_by_hand(
    raw: Path, tmp_path: Path, dr4: Path, options: Any, left: list[int], cuts: list[Any]
) -> None:
    store = convert(raw, tmp_path, dr4, **options)
    assert stars(store) == left
    assert store.manifest.cuts == tuple(Cut(*cut) for cut in cuts)
    assert len(store) + sum(cut.removed for cut in store.manifest.cuts) == len(IDS)
    assert store.info()["cuts"] == [vars(cut) for cut in store.manifest.cuts]
    # The skipped stars are those of unusable spectra; there are none.
    assert store.manifest.skipped == ()


def test_dr3_has_cuts_of_its_own(raw: Path, tmp_path: Path) -> None:
    catalogue = write_table(tmp_path / "dr3.csv", dr3())
    store = convert(raw, tmp_path, catalogue, select="recommended")
    assert stars(store) == [0, 5]
    assert [(cut.condition, cut.removed) for cut in store.manifest.cuts] == [
        ("flag_sp == 0", 3),
        ("flag_fe_h == 0", 1),
        ("snr_c3_iraf > 30", 1),
    ]


def test_unmatched_stars_and_sentinels_are_told_and_flags_counted(
    raw: Path, tmp_path: Path, dr4: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = convert(raw, tmp_path, dr4)
    assert store.manifest.notes == (
        "catalogue dr4.csv (GALAH DR4): 6 of 7 stars matched by sobject_id",
        f"stars that are not in the catalogue, without labels (1): {IDS[6]}",
        "catalogue column teff: taken as missing: 999999 in 1 rows",
        "catalogue column logg: taken as missing: 1e+20 in 1 rows",
        "catalogue column fe_h: taken as missing: -9999 in 1 rows",
    )
    assert [(count.bit, count.stars) for count in store.manifest.flags] == [(1, 2), (2048, 1)]
    assert main(["info", str(store.path)]) == 0
    text = capsys.readouterr().out
    assert "flag        flag_sp 2048 (low SNR): 1 stars" in text
    assert "equal tmass_id in one part" in text
    assert main(["info", str(store.path), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["flags"][0] == {"column": "flag_sp", "bit": 1, "meaning": "emission", "stars": 2}


def test_flags_are_counted_without_stars_that_are_skipped(
    raw: Path, tmp_path: Path, dr4: Path
) -> None:
    flux = FLUX.copy()
    flux[4] = np.nan
    np.save(raw / "spectra.npy", flux)
    store = convert(raw, tmp_path, dr4, on_bad="skip")
    assert [(count.bit, count.stars) for count in store.manifest.flags] == [(1, 1)]
    again = gs.convert(store, tmp_path / "again", dtype="uint16", progress=False)
    assert again.manifest.flags == store.manifest.flags
    assert again.manifest.cuts == store.manifest.cuts


def test_the_command_line_converts_and_prints_the_cuts(
    raw: Path, tmp_path: Path, dr4: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", str(raw), str(tmp_path / "store"), "--catalogue", str(dr4)]
    options = ["--select", "recommended", "--where", "teff > 5000", "--labels", "teff,mg_fe"]
    assert main([*arguments, *options, "--split", "1,0,0", "--unmatched", "skip"]) == 0
    text = capsys.readouterr().out
    assert "cut         star is in the catalogue: 1 stars removed\n" in text
    assert "cut         teff > 5000: 1 stars removed\n" in text
    assert "mg_fe" in text
    with gs.open_store(tmp_path / "store") as store:
        assert stars(store) == [0, 5]


def test_visits_of_one_star_stay_in_one_split(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw")
    ids = SOBJECT[0] + np.arange(60)
    np.save(pair.folder / "ids.npy", ids)
    star = np.char.add("star", (np.arange(60) // 4).astype(np.str_))
    star[57:] = ""  # each is a star of its own
    columns = {
        "sobject_id": ids,
        "tmass_id": star,
        "teff": pair.labels[:, 4],
        "field": np.arange(60) // 10,
    }
    catalogue = write_table(tmp_path / "t.csv", columns)
    options: dict[str, Any] = {"labels": ["teff"], "catalogue": catalogue, "progress": False}
    with gs.convert(pair.folder, tmp_path / "store", **options) as store:
        assert store.manifest.groups == "tmass_id"
        for name in np.unique(star[:57]):
            assert len(set(store.split[np.isin(store.ids, ids[star == name])])) == 1
        assert np.array_equal(store.labels["teff"], pair.labels[store.source_row, 4])
    with gs.convert(pair.folder, tmp_path / "other", groups="field", **options) as store:
        assert store.manifest.groups == "field"
        for field in range(6):
            assert len(set(store.split[np.isin(store.ids, ids[field * 10 : field * 10 + 10])])) == 1


def test_a_catalogue_is_read_once(
    raw: Path, tmp_path: Path, dr4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, reads = catalogue_formats._read_text, []

    def counted(path: Path, names: Any, delimiter: str) -> Any:
        reads.append(names)
        return original(path, names, delimiter)

    monkeypatch.setattr(catalogue_formats, "_read_text", counted)
    options = {"select": "recommended", "where": "teff > 1", "groups": "gaiadr3_source_id"}
    convert(raw, tmp_path, dr4, **options)
    assert len(reads) == 1
    assert "Mg_fe" not in reads[0]  # which is not needed


def test_a_store_with_cuts_is_repaired_from_all_spectra(
    raw: Path, tmp_path: Path, dr4: Path
) -> None:
    store = convert(raw, tmp_path, dr4, where="teff < 5000 or logg < 2")
    assert stars(store) == [1, 4]
    path, expected = store.path, store.flux[:]
    store.close()
    with (path / "flux.npy").open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\xff")
    assert repair(path, raw, progress=False).tolist() == [1]
    with gs.open_store(path) as repaired:
        assert np.array_equal(repaired.flux[:], expected)
        assert len(repaired.verify()) == 0


def test_any_source_can_be_joined(raw: Path, tmp_path: Path, dr4: Path) -> None:
    expected = convert(raw, tmp_path, dr4)
    hdf5 = write_hdf5(tmp_path / "a.h5", flux=FLUX, sobject_id=IDS, labels=FLUX[:, :3])
    unlabelled = gs.convert(raw, tmp_path / "unlabelled", progress=False)
    sources: list[Any] = [hdf5, (FLUX, {"sobject_id": IDS}), unlabelled]
    for number, source in enumerate(sources):
        options: dict[str, Any] = {"split": (1, 0, 0), "progress": False}
        store = gs.convert(source, tmp_path / str(number), catalogue=dr4, **options)
        assert np.array_equal(store.ids, expected.ids)
        assert store.label_units == expected.label_units
        for name, values in expected.labels.items():
            assert np.array_equal(store.labels[name], values, equal_nan=True)
    assert expected.manifest.provenance.reader == "NpyPairSource"


def test_a_pair_with_labels_of_its_own_needs_no_names_for_them(
    raw: Path, tmp_path: Path, dr4: Path
) -> None:
    np.save(raw / "labels.npy", np.ones((7, 3)))
    assert list(convert(raw, tmp_path, dr4, labels="teff").labels) == ["teff", "e_teff"]


def test_fits_files_of_stars_that_are_cut_stay_out_of_the_store(tmp_path: Path, dr4: Path) -> None:
    for star in IDS[[0, 2, 6]].tolist():
        write_star(tmp_path / "raw", star, "dr4->f4")
    store = convert(tmp_path / "raw", tmp_path, dr4, select="recommended", labels="logg")
    assert store.ids.tolist() == [IDS[0]]
    assert store.labels["logg"].tolist() == [4.44]


def test_a_store_in_place_takes_labels_and_no_cuts(raw: Path, tmp_path: Path, dr4: Path) -> None:
    with convert(raw, tmp_path, dr4, in_place=True) as store:
        assert (store.path / "flux.npy").samefile(raw / "spectra.npy")
        assert store.labels["teff"][0] == 5772
    with pytest.raises(OptionError, match=r"in_place needs spectra in a .npy file, and all"):
        convert(raw, tmp_path, dr4, in_place=True, unmatched="skip", overwrite=True)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"where": "teff > 1"}, "where was 'teff > 0' and is now 'teff > 1'"),
        ({"where": None, "select": "recommended"}, "select was None and is now 'recommended'"),
        ({"unmatched": "skip"}, "unmatched was 'keep' and is now 'skip'"),
        ({"join": "sobject_id"}, "join was None and is now 'sobject_id'"),
        ({"path": "other.csv"}, "catalogue was .*dr4.csv' and is now .*other.csv'"),
        ({}, "the contents of the catalogue have changed"),
    ],
)
def test_a_conversion_is_resumed_with_the_same_catalogue_only(
    raw: Path,
    tmp_path: Path,
    dr4: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    reason: str,
) -> None:
    options: dict[str, Any] = {"path": dr4, "where": "teff > 0"}
    with convert_by_rows(raw, tmp_path / "complete", **options) as store:
        complete = contents(store.path)
    stop_after_five_rows(monkeypatch)
    with pytest.raises(OSError, match="stopped"):
        convert_by_rows(raw, tmp_path / "store", **options)
    monkeypatch.undo()
    other = write_table(tmp_path / "other.csv", DR4)
    if not changed:
        os.utime(dr4, ns=(1, 1))
    given = {name: other if value == "other.csv" else value for name, value in changed.items()}
    with pytest.raises(OptionError, match=reason):
        convert_by_rows(raw, tmp_path / "store", **{**options, **given})
    if changed:
        with convert_by_rows(raw, tmp_path / "store", **options) as store:
            assert contents(store.path) == complete


def convert_by_rows(source: Path, dest: Path, **catalogue: Any) -> Store:
    """Convert in blocks of one row, each of which can be resumed from."""
    options = ConvertOptions(
        catalogue=CatalogueOptions(**catalogue), split=(1, 0, 0), block_bytes=4 * 16
    )
    return convert_with(source, dest, options)


def stop_after_five_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk fail after the first rows, which are kept to be resumed."""
    original = NpyFile.iter_blocks

    def failing(self: NpyFile, block_rows: int, first_row: int = 0) -> Any:
        yield from list(original(self, 1, first_row))[:5]
        raise OSError(5, "stopped")

    monkeypatch.setattr(NpyFile, "iter_blocks", failing)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"where": "teff > 4000 and snr > 3"}, "position 17: .*no column 'snr'; similar are"),
        ({"where": "tmass_id > 3"}, "position 1: .*'tmass_id': text"),
        ({"where": "teff >"}, "position 7: expected a condition"),
        ({"labels": ["teff", "tmass_id"]}, "'tmass_id': text, such as '05505952"),
        ({"labels": ["teff", "vsini"]}, "no column 'vsini'"),
        ({"join": "star"}, "join 'star' is not known"),
        ({"select": "best"}, "select 'best' is not known; expected recommended"),
        ({"unmatched": "drop"}, "unmatched 'drop' is not known"),
        ({"join": "tmass_id"}, "ids are in several rows"),
        ({"groups": "nothing"}, "no column 'nothing'"),
        ({"catalogue": 3}, "expected the path of a table"),
        ({"catalogue": None, "where": "teff > 1"}, "give one with catalogue="),
        ({"catalogue": None, "unmatched": "skip"}, "give one with catalogue="),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    raw: Path, tmp_path: Path, dr4: Path, options: dict[str, Any], reason: str
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GalahStreamError, match=reason):
        gs.convert(raw, tmp_path / "store", **{"catalogue": dr4, **options})
    assert sorted(tmp_path.iterdir()) == before


def test_cuts_that_leave_no_star_are_listed(raw: Path, tmp_path: Path, dr4: Path) -> None:
    with pytest.raises(
        BadSpectraError, match=r"none of its 7 stars is left .*teff > 5000: 5 removed; logg > 9: 2"
    ):
        convert(raw, tmp_path, dr4, where="teff > 5000 and logg > 9")


def test_a_catalogue_is_not_overwritten_by_its_store(raw: Path, tmp_path: Path, dr4: Path) -> None:
    content = dr4.read_bytes()
    with pytest.raises(GalahStreamError, match=r"dr4\.csv"):
        gs.convert(raw, dr4, catalogue=dr4, overwrite=True)
    assert dr4.read_bytes() == content


def test_many_unmatched_stars_are_listed_up_to_a_number(tmp_path: Path, dr4: Path) -> None:
    ids = np.append(SOBJECT[0], SOBJECT[0] + 1000 + np.arange(30))
    flux = np.ones((31, 4), dtype=np.float32)
    store = convert((flux, {"sobject_id": ids}), tmp_path, dr4, labels=["teff"])
    note = next(note for note in store.manifest.notes if note.startswith("stars that are not"))
    assert note.endswith("and 10 more")
    assert str(ids[20]) in note
    assert str(ids[21]) not in note
