import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.conversion.convert import convert
from galahstream.errors import GalahStreamError, StoreFormatError
from galahstream.sources.base import Source
from galahstream.store import Store
from galahstream.store.manifest import Manifest, signed
from galahstream.survey.provenance import Provenance
from galahstream.validation import FieldError
from tests.conftest import Pair
from tests.test_validation import ANYTHING


@pytest.fixture
def body(npy_store: Store) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(npy_store.manifest.to_json())
    del fields["digest"]
    return fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_stars", 10**12),
        ("n_stars", "60"),
        ("n_stars", True),
        ("n_pixels", 0),
        ("dtype", "object"),
        ("labels", [{"name": "teff"}]),
        ("labels", "teff"),
        ("split", [0.7, 0.3]),
        ("split_sizes", [60, 0, -1]),
        ("digests", {"flux": "0"}),
        ("skipped", [[1, "x" * 5000]]),
        ("notes", ["two\nlines"]),
        ("notes", "a note"),
        ("notes", [1]),
        ("row_order", "../../elsewhere"),
        ("quantization", {"bscale": 0}),
        ("code", {"scale": 0}),
        ("chunk_rows", 0),
        ("compression", "zip"),
        ("provenance", {"survey": 4}),
        ("split_seed", 2**63),
        ("error_counts", {"nan": 0, "infinite": 0, "zero_or_negative": 0, "outside": 0}),
        ("error_counts", {"nan": -1}),
        ("error_counts", 7),
        ("missing_values", [1.0, "-9999"]),
        ("kind", ["galahstream store"]),
    ],
)
def test_an_impossible_value_raises_by_field(body: dict[str, Any], field: str, value: Any) -> None:
    expected = f"manifest field '{field}|field 'split_sizes|field 'quantization|not the manifest"
    with pytest.raises(StoreFormatError, match=expected):
        Manifest.from_json(signed({**body, field: value}), "manifest.json")


def test_two_labels_of_one_name_raise(body: dict[str, Any]) -> None:
    body["labels"][1]["name"] = body["labels"][0]["name"]
    with pytest.raises(StoreFormatError, match="two labels have one name"):
        Manifest.from_json(signed(body), "manifest.json")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": 1' + "0" * 5000 + "}", '{"version": NaN}', "", "null"]
)
def test_text_that_is_hard_to_read_raises(text: str) -> None:
    with pytest.raises(StoreFormatError, match="not the manifest"):
        Manifest.from_json(text, "manifest.json")


def test_fields_that_came_later_may_be_missing(body: dict[str, Any]) -> None:
    for field in (
        "quantization", "row_order", "chunk_rows", "compression", "provenance",
        "missing_values", "notes",
    ):  # fmt: skip
        del body[field]
    manifest = Manifest.from_json(signed(body), "manifest.json")
    assert (manifest.row_order, manifest.chunk_rows, manifest.compression) == ("split", 1, None)
    assert manifest.provenance == Provenance()
    assert manifest.missing_values == ()
    assert manifest.notes == ()


def test_fields_that_a_later_version_adds_are_ignored(body: dict[str, Any]) -> None:
    assert Manifest.from_json(signed({**body, "error_dtype": "float32"}), "x").n_stars == 60


def test_a_manifest_with_earlier_names_opens(body: dict[str, Any]) -> None:
    earlier = {**body, "dtype": "uint16"}
    for field in ("quantization", "chunk_rows", "compression", "provenance"):
        del earlier[field]
    earlier["odd_pixels"] = earlier.pop("pixel_counts")
    earlier["left_out"] = earlier.pop("skipped")
    earlier["code"] = {
        "scale": 5e-5, "zero": -0.5, "no_value": 65535, "clipped": 3, "largest_error": 2.5e-5,
    }  # fmt: skip
    text = signed(earlier)
    manifest = Manifest.from_json(text, "manifest.json")
    assert manifest.quantization is not None
    assert (manifest.quantization.bscale, manifest.quantization.bzero) == (5e-5, -0.5)
    assert manifest.quantization.clipped == 3
    with pytest.raises(StoreFormatError, match="its own digest"):
        Manifest.from_json(text.replace('"clipped": 3', '"clipped": 4'), "manifest.json")


def test_no_manifest_of_a_plan_is_longer_than_its_largest(pair: Pair, tmp_path: Path) -> None:
    sources: list[Path | Source] = [pair.folder, pair.with_errors]
    for number, source in enumerate(sources):
        manifest = convert(source, tmp_path / str(number)).manifest
        largest = manifest.largest
        largest.check_readable()
        assert len(manifest.to_json()) < len(largest.to_json())
        assert largest.largest == largest


def test_a_manifest_with_errors_comes_back(pair: Pair, tmp_path: Path) -> None:
    manifest = convert(pair.with_errors, tmp_path / "store").manifest
    assert Manifest.from_json(manifest.to_json(), "manifest.json") == manifest
    assert manifest.spec.has_errors


@pytest.mark.slow
def test_a_manifest_that_is_too_large_to_read_raises_before_it_is_written(
    npy_store: Store,
) -> None:
    skipped = ((1, "x" * 4096),) * 17_000
    with pytest.raises(FieldError, match=r"'skipped': the manifest has 6\d,\d+,\d+|7\d,\d+"):
        replace(npy_store.manifest, skipped=skipped).check_readable()


@pytest.mark.slow
@settings(deadline=None)
@given(data=st.data())
def test_any_value_is_read_or_raises(data: st.DataObject) -> None:
    manifest = {
        "n_stars": 3, "n_pixels": 4, "dtype": "float32", "wavelength": "unknown", "labels": [],
        "split": [0.4, 0.3, 0.3], "split_sizes": [1, 1, 1], "split_seed": 1, "groups": None,
        "pixel_counts": {"nan": 0, "infinite": 0, "negative": 0, "zero": 0}, "skipped": [],
        "digests": dict.fromkeys(
            ("labels", "wavelength", "ids", "source_row", "split", "digests"), "0" * 16
        ),
        "quantization": None, "chunk_rows": 1, "compression": None,
        "provenance": dict.fromkeys(("survey", "release", "reader", "resampling")),
        "notes": [], "row_order": "split", "flux_unit": "", "wavelength_unit": "", "version": 1,
        "kind": "galahstream store",
    }  # fmt: skip
    assert Manifest.from_json(signed(dict(manifest)), "manifest.json").n_stars == 3
    field = data.draw(st.sampled_from(sorted(manifest)))
    manifest[field] = data.draw(ANYTHING)
    with contextlib.suppress(GalahStreamError):
        Manifest.from_json(signed(manifest), "manifest.json")
