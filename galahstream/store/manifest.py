"""The manifest: what a store holds, in JSON, with a digest of each array and of itself."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from galahstream.errors import StoreFormatError, StoreVersionError
from galahstream.store.digest import text_digest
from galahstream.store.layout import FLUX_DTYPES

FORMAT_VERSION = 1
# Fields that the first stores of this version did not have.
_LATER = ("code", "row_order")
MANIFEST_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class LabelColumn:
    """One label: name, unit, and statistics of its finite values (ddof 0; None without any).

    `train_mean` and `train_std` are over training rows, `mean` and `std` over all.
    """

    name: str
    unit: str
    missing: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    train_mean: float | None
    train_std: float | None


@dataclass(frozen=True)
class OddPixels:
    """Counts of pixels that are legal in a store and need care when read."""

    nan: int = 0
    infinite: int = 0
    negative: int = 0
    zero: int = 0

    def __add__(self, other: "OddPixels") -> "OddPixels":
        return OddPixels(
            self.nan + other.nan,
            self.infinite + other.infinite,
            self.negative + other.negative,
            self.zero + other.zero,
        )


@dataclass(frozen=True)
class FluxCode:
    """The 16-bit code of a store's flux: zero + scale x code, and how many pixels it clipped.

    The error of a pixel inside the range is at most `largest_error`.
    """

    scale: float
    zero: float
    no_value: int
    clipped: int
    largest_error: float


@dataclass(frozen=True)
class Manifest:
    """All that a store says of itself; nothing in it differs between two equal runs."""

    n_stars: int
    n_pixels: int
    dtype: str
    wavelength: str  # "nominal", "given" or "unknown"
    labels: tuple[LabelColumn, ...]
    split: tuple[float, float, float]
    split_sizes: tuple[int, int, int]
    split_seed: int
    groups: str | None
    odd_pixels: OddPixels
    left_out: tuple[tuple[int, str], ...]  # (star id, reason)
    digests: dict[str, str]
    code: FluxCode | None = None  # for uint16
    row_order: str = "split"  # or "source", for flux that was left where it is
    flux_unit: str = "relative to the continuum"
    wavelength_unit: str = "Angstrom"
    version: int = FORMAT_VERSION
    kind: str = "galahstream store"

    def to_json(self) -> str:
        """Return the manifest as JSON with its own digest in the last field."""
        body = asdict(self)
        return json.dumps({**body, "digest": text_digest(_canonical(body))}, indent=1)

    @classmethod
    def from_json(cls, text: str, name: str) -> "Manifest":
        """Read a manifest, checking version, fields and digest.

        Raises
        ------
        StoreVersionError
            If the version is newer than this library reads.
        StoreFormatError
            If the text is no manifest or was changed.
        """
        try:
            body = json.loads(text)
            version = body["version"]
            digest = body.pop("digest")
            is_ours = body["kind"] == "galahstream store" and isinstance(version, int)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_ours, version, digest = False, 0, ""
        if not is_ours:
            msg = f"{name}: this is no manifest of a galahstream store; convert the source again"
            raise StoreFormatError(msg)
        if version > FORMAT_VERSION:
            msg = (
                f"{name}: the store has format version {version}; this galahstream reads up to "
                f"{FORMAT_VERSION}: install a newer galahstream"
            )
            raise StoreVersionError(msg)
        if digest != text_digest(_canonical(body)):
            msg = f"{name}: the manifest does not match its own digest: it was damaged or edited"
            raise StoreFormatError(msg + "; convert the source again")
        return cls(**_typed(body, name))


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _typed(body: dict[str, Any], name: str) -> dict[str, Any]:
    known = {field.name for field in fields(Manifest)}
    try:
        typed = {key: body[key] for key in known if key in body or key not in _LATER}
        typed["labels"] = tuple(LabelColumn(**column) for column in body["labels"])
        typed["code"] = FluxCode(**body["code"]) if body.get("code") else None
        if body["dtype"] not in FLUX_DTYPES or (typed["code"] is None) != (
            body["dtype"] == "float32"
        ):
            msg = f"dtype {body['dtype']!r} with code {body.get('code')!r}"
            raise ValueError(msg)
        typed["odd_pixels"] = OddPixels(**body["odd_pixels"])
        for key in ("split", "split_sizes"):
            typed[key] = tuple(body[key])
        typed["left_out"] = tuple((int(star), str(reason)) for star, reason in body["left_out"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{name}: the manifest lacks or garbles a field ({error}); convert the source again"
        raise StoreFormatError(msg) from error
    return typed
