import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.errors import GalahStreamError, StoreFormatError
from galahstream.store import Store
from galahstream.store.manifest import Manifest, _canonical
from galahstream.system.digest import text_digest
from tests.test_validation import ANYTHING


def signed(body: dict[str, Any]) -> str:
    """Return a manifest with the digest that goes with it, as any author can compute it."""
    body.pop("digest", None)
    return json.dumps({**body, "digest": text_digest(_canonical(body))})


@pytest.fixture
def body(npy_store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(npy_store.manifest.to_json())
    return found


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
        ("row_order", "../../elsewhere"),
        ("code", {"scale": 0}),
    ],
)
def test_a_claim_that_cannot_be_is_refused_by_field(
    body: dict[str, Any], field: str, value: Any
) -> None:
    with pytest.raises(StoreFormatError, match=f"the field '{field}|the field 'split_sizes"):
        Manifest.from_json(signed({**body, field: value}), "manifest.json")


def test_two_labels_of_one_name_are_refused(body: dict[str, Any]) -> None:
    body["labels"][1]["name"] = body["labels"][0]["name"]
    with pytest.raises(StoreFormatError, match="two labels have one name"):
        Manifest.from_json(signed(body), "manifest.json")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"version": 1' + "0" * 5000 + "}", '{"version": NaN}', "", "null"]
)
def test_text_that_is_hard_to_read_is_refused(text: str) -> None:
    with pytest.raises(StoreFormatError, match="no manifest"):
        Manifest.from_json(text, "manifest.json")


def test_fields_that_came_later_may_be_missing(body: dict[str, Any]) -> None:
    for field in ("code", "row_order"):
        del body[field]
    assert Manifest.from_json(signed(body), "manifest.json").row_order == "split"


@settings(deadline=None)
@given(data=st.data())
def test_any_claim_is_read_or_refused(data: st.DataObject) -> None:
    manifest = {
        "n_stars": 3, "n_pixels": 4, "dtype": "float32", "wavelength": "unknown", "labels": [],
        "split": [0.4, 0.3, 0.3], "split_sizes": [1, 1, 1], "split_seed": 1, "groups": None,
        "pixel_counts": {"nan": 0, "infinite": 0, "negative": 0, "zero": 0}, "skipped": [],
        "digests": dict.fromkeys(
            ("labels", "wavelength", "ids", "source_row", "split", "digests"), "0" * 16
        ),
        "code": None, "row_order": "split", "flux_unit": "", "wavelength_unit": "", "version": 1,
        "kind": "galahstream store",
    }  # fmt: skip
    assert Manifest.from_json(signed(dict(manifest)), "manifest.json").n_stars == 3
    field = data.draw(st.sampled_from(sorted(manifest)))
    manifest[field] = data.draw(ANYTHING)
    with contextlib.suppress(GalahStreamError):
        Manifest.from_json(signed(manifest), "manifest.json")
