"""The manifest: what a store holds, in JSON, with a digest of each array and of itself."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from galahstream import validation
from galahstream.errors import StoreFormatError, StoreVersionError
from galahstream.store.layout import FLUX_DTYPES, array_specs
from galahstream.store.quantization import NO_VALUE, Encoding, Float32, Quantized16
from galahstream.system.digest import text_digest

FORMAT_VERSION = 1
# What the first stores of this version call some fields.
_EARLIER_NAMES = {"odd_pixels": "pixel_counts", "left_out": "skipped"}
# Fields that the first stores of this version did not have.
_OPTIONAL_FIELDS = ("code", "row_order")
MANIFEST_LIMIT = 64 * 1024 * 1024
_MAX_NAME_LENGTH = 256
_MAX_LABELS = 4096


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
class PixelCounts:
    """Counts of pixels that are legal in a store and need care when read."""

    nan: int = 0
    infinite: int = 0
    negative: int = 0
    zero: int = 0

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
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
    pixel_counts: PixelCounts
    skipped: tuple[tuple[int, str], ...]  # (star id, reason)
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
            body = json.loads(text, parse_constant=_no_number)
            version = body["version"]
            digest = body.pop("digest")
            is_ours = body["kind"] == "galahstream store" and isinstance(version, int)
            found = text_digest(_canonical(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_ours, version, digest, found = False, 0, "", ""
        if not is_ours:
            msg = f"{name}: this is no manifest of a galahstream store; convert the source again"
            raise StoreFormatError(msg)
        if version > FORMAT_VERSION:
            msg = (
                f"{name}: the store has format version {version}; this galahstream reads up to "
                f"{FORMAT_VERSION}: install a newer galahstream"
            )
            raise StoreVersionError(msg)
        if digest != found:
            msg = f"{name}: the manifest does not match its own digest: it was damaged or edited"
            raise StoreFormatError(msg + "; convert the source again")
        current = {_EARLIER_NAMES.get(field, field): value for field, value in body.items()}
        return cls(**_typed(current, name))


def encoding_of(manifest: Manifest) -> Encoding:
    """Return how the flux of a store is encoded."""
    code = manifest.code
    return Float32() if code is None else Quantized16(code.scale, code.zero)


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _no_number(name: str) -> float:
    msg = f"{name} is no number of JSON"
    raise ValueError(msg)


def _label(value: Any) -> LabelColumn:
    found = validation.mapping(value, *(field.name for field in fields(LabelColumn)))
    statistic = validation.optional(validation.number)
    return LabelColumn(
        name=validation.text(found["name"], _MAX_NAME_LENGTH),
        unit=validation.text(found["unit"], _MAX_NAME_LENGTH),
        missing=validation.integer(found["missing"]),
        **{
            name: statistic(found[name])
            for name in ("minimum", "maximum", "mean", "std", "train_mean", "train_std")
        },
    )


def _labels(value: Any) -> tuple[LabelColumn, ...]:
    columns = validation.sequence(value, _label, maximum=_MAX_LABELS)
    if len({column.name for column in columns}) != len(columns):
        msg = "two labels have one name"
        raise ValueError(msg)
    return columns


def _flux_code(value: Any) -> FluxCode:
    found = validation.mapping(value, *(field.name for field in fields(FluxCode)))
    return FluxCode(
        scale=validation.number(found["scale"], above=0),
        zero=validation.number(found["zero"]),
        no_value=validation.integer(found["no_value"], NO_VALUE, NO_VALUE),
        clipped=validation.integer(found["clipped"]),
        largest_error=validation.number(found["largest_error"], above=0),
    )


def _pixel_counts(value: Any) -> PixelCounts:
    names = [field.name for field in fields(PixelCounts)]
    found = validation.mapping(value, *names)
    return PixelCounts(**{name: validation.integer(found[name]) for name in names})


def _skipped_star(value: Any) -> tuple[int, str]:
    star, reason = validation.sequence(value, lambda item: item, minimum=2, maximum=2)
    return validation.integer(star, minimum=-(2**63)), validation.text(reason, 4096)


def _digests(value: Any) -> dict[str, str]:
    names = [name for name in array_specs(0, 0, 0, "float32") if name != "flux"]
    found = validation.mapping(value, *names)
    for digest in found.values():
        if len(validation.text(digest)) != 16 or set(digest) - set("0123456789abcdef"):
            msg = f"found {digest[:60]!r}, expected 16 hexadecimal digits"
            raise ValueError(msg)
    return found


# What each field may hold: the author of a file can compute its digest too.
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "n_stars": partial(validation.integer, minimum=1, maximum=2**40),
    "n_pixels": partial(validation.integer, minimum=1, maximum=2**31),
    "dtype": lambda value: validation.one_of(value, tuple(FLUX_DTYPES)),
    "wavelength": lambda value: validation.one_of(value, ("nominal", "given", "unknown")),
    "labels": _labels,
    "split": partial(validation.sequence, check=validation.number, minimum=3, maximum=3),
    "split_sizes": partial(validation.sequence, check=validation.integer, minimum=3, maximum=3),
    "split_seed": validation.integer,
    "groups": validation.optional(partial(validation.text, max_length=_MAX_NAME_LENGTH)),
    "pixel_counts": _pixel_counts,
    "skipped": partial(validation.sequence, check=_skipped_star, maximum=2**31),
    "digests": _digests,
    "code": validation.optional(_flux_code),
    "row_order": lambda value: validation.one_of(value, ("split", "source")),
    "flux_unit": validation.text,
    "wavelength_unit": validation.text,
    "version": validation.integer,
    "kind": validation.text,
}


def _typed(body: dict[str, Any], name: str) -> dict[str, Any]:
    typed = {}
    for field, check in _CHECKS.items():
        if field in _OPTIONAL_FIELDS and field not in body:
            continue
        try:
            typed[field] = check(body[field])
        except (KeyError, ValueError) as error:
            why = "it is missing" if isinstance(error, KeyError) else error
            raise _garbled(name, field, why) from error
    if (typed.get("code") is None) != (typed["dtype"] == "float32"):
        raise _garbled(name, "code", f"it does not go with flux of {typed['dtype']}")
    if sum(typed["split_sizes"]) != typed["n_stars"]:
        raise _garbled(name, "split_sizes", f"they do not add up to {typed['n_stars']} stars")
    return typed


def _garbled(name: str, field: str, why: object) -> StoreFormatError:
    return StoreFormatError(
        f"{name}: the manifest lacks or garbles the field {field!r}: {why}; convert the source "
        f"again"
    )
