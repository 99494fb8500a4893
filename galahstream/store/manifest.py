"""The manifest of a store: its contents in JSON, with a digest of each array and of itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from galahstream import validation
from galahstream.errors import StoreFormatError, StoreVersionError
from galahstream.store.layout import (
    DIGEST_NAMES,
    FLUX_DTYPES,
    MANIFEST_LIMIT,
    MEMBER_NAMES,
    Member,
    StoreSpec,
)
from galahstream.store.quantization import NO_VALUE, Encoding, Float32, Quantized16
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut, FlagCount
from galahstream.system.digest import text_digest
from galahstream.validation import FieldError, checked, optional, record

FORMAT_VERSION = 1
_KIND = "galahstream store"
# Names of fields in the first stores of this version.
_EARLIER_NAMES = {"odd_pixels": "pixel_counts", "left_out": "skipped", "code": "quantization"}
_EARLIER_QUANTIZATION_NAMES = {"scale": "bscale", "zero": "bzero"}
_MAX_NAME_LENGTH = 256
_MAX_REASON_LENGTH = 4096
_MAX_LABELS = 4096
_MAX_MISSING_VALUES = 4096
_MAX_NOTES = 4096
_MAX_CUTS = 4096
_MAX_FLAGS = 64
_MAX_MEMBERS = 2**20
_MAX_COUNT = 2**63 - 1
_DIGEST_LENGTH = 16

_name = partial(validation.text, max_length=_MAX_NAME_LENGTH)
_note = partial(validation.text, max_length=_MAX_REASON_LENGTH)
_statistic = optional(validation.number)
_triple = partial(validation.sequence, minimum=3, maximum=3)


@dataclass(frozen=True)
class LabelColumn:
    """One label: name, unit, and statistics of its finite values (ddof 0; None without any).

    `train_mean` and `train_std` are over training rows, `mean` and `std` over all.
    """

    name: str = checked(_name)
    unit: str = checked(_name)
    missing: int = checked(validation.integer)
    minimum: float | None = checked(_statistic)
    maximum: float | None = checked(_statistic)
    mean: float | None = checked(_statistic)
    std: float | None = checked(_statistic)
    train_mean: float | None = checked(_statistic)
    train_std: float | None = checked(_statistic)


@dataclass(frozen=True)
class PixelCounts:
    """Counts of pixels that are legal in a store and need care when read."""

    nan: int = checked(validation.integer, default=0)
    infinite: int = checked(validation.integer, default=0)
    negative: int = checked(validation.integer, default=0)
    zero: int = checked(validation.integer, default=0)

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.nan + other.nan,
            self.infinite + other.infinite,
            self.negative + other.negative,
            self.zero + other.zero,
        )


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of pixels whose error is unknown (NaN) in a store, by what the source says.

    `outside` counts positive errors that float16 cannot hold.
    """

    nan: int = checked(validation.integer, default=0)
    infinite: int = checked(validation.integer, default=0)
    zero_or_negative: int = checked(validation.integer, default=0)
    outside: int = checked(validation.integer, default=0)

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.nan + other.nan,
            self.infinite + other.infinite,
            self.zero_or_negative + other.zero_or_negative,
            self.outside + other.outside,
        )

    @property
    def unknown(self) -> int:
        """The sum of all counts."""
        return self.nan + self.infinite + self.zero_or_negative + self.outside


@dataclass(frozen=True)
class Quantization:
    """16-bit storage of flux = bzero + bscale x stored, and the number of pixels it clipped.

    The error of a pixel inside the range is at most `largest_error`.
    """

    bscale: float = checked(partial(validation.number, above=0))
    bzero: float = checked(validation.number)
    no_value: int = checked(partial(validation.integer, minimum=NO_VALUE, maximum=NO_VALUE))
    clipped: int = checked(validation.integer)
    largest_error: float = checked(partial(validation.number, above=0))


def _skipped_star(value: Any) -> tuple[int, str]:
    star, reason = validation.sequence(value, lambda item: item, minimum=2, maximum=2)
    return (
        validation.integer(star, minimum=-(2**63)),
        validation.text(reason, _MAX_REASON_LENGTH),
    )


def _array_digests(value: Any) -> dict[str, str]:
    names = set(StoreSpec(0, 0, 0, "float32").arrays())
    optional_names = {*DIGEST_NAMES.values(), *MEMBER_NAMES}
    names |= set(value) & optional_names if isinstance(value, dict) else set()
    digests = validation.mapping(value, *sorted(names))
    for digest in digests.values():
        if len(validation.text(digest)) != _DIGEST_LENGTH or set(digest) - set("0123456789abcdef"):
            shown = validation.shown(digest)
            msg = f"found {shown}, expected {_DIGEST_LENGTH} hexadecimal digits"
            raise ValueError(msg)
    return digests


def _without_absent(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a manifest without those of parts that the store does not have.

    Stores without errors or members have had no field for them from the first one on.
    """
    if fields["error_counts"] is None:
        del fields["error_counts"]
    if not fields["members"]:
        del fields["members"]
    return fields


@dataclass(frozen=True)
class Manifest:
    """All that a store says of itself; nothing in it differs between two equal runs.

    Attributes
    ----------
    wavelength : str
        ``"nominal"``, ``"given"`` or ``"unknown"``.
    skipped : tuple of (int, str)
        Star id and reason of each star that was not converted.
    notes : tuple of str
        What the source says of its stars and files.
    digests : mapping
        Digest of each array but the spectra.
    missing_values : tuple of float
        Label values of the source that were made missing.
    quantization : Quantization or None
        For ``"uint16"``.
    row_order : str
        ``"split"``, or ``"source"`` for flux that was not copied.
    cuts : tuple of Cut
        Conditions that removed stars, in the order in which they were applied.
    flags : tuple of FlagCount
        How many of the stars have a quality flag of the catalogue set.
    chunk_rows, compression
        Rows per HDF5 chunk and filter of the flux, as converted.
    error_counts : ErrorCounts or None
        For a store with an error of each pixel; None for one without.
    members : tuple of Member
        For a collection, the stores that have its spectra, by their number.
    """

    n_stars: int = checked(partial(validation.integer, minimum=1, maximum=2**40))
    n_pixels: int = checked(partial(validation.integer, minimum=1, maximum=2**31))
    dtype: str = checked(partial(validation.one_of, allowed=tuple(FLUX_DTYPES)))
    wavelength: str = checked(partial(validation.one_of, allowed=("nominal", "given", "unknown")))
    labels: tuple[LabelColumn, ...] = checked(
        partial(validation.sequence, check=record(LabelColumn), maximum=_MAX_LABELS)
    )
    split: tuple[float, float, float] = checked(partial(_triple, check=validation.number))
    split_sizes: tuple[int, int, int] = checked(partial(_triple, check=validation.integer))
    split_seed: int = checked(partial(validation.integer, maximum=validation.MAX_SEED))
    groups: str | None = checked(optional(_name))
    pixel_counts: PixelCounts = checked(record(PixelCounts))
    skipped: tuple[tuple[int, str], ...] = checked(
        partial(validation.sequence, check=_skipped_star, maximum=2**31)
    )
    digests: Mapping[str, str] = checked(_array_digests)
    missing_values: tuple[float, ...] = checked(
        partial(validation.sequence, check=validation.number, maximum=_MAX_MISSING_VALUES),
        default=(),
    )
    quantization: Quantization | None = checked(optional(record(Quantization)), default=None)
    notes: tuple[str, ...] = checked(
        partial(validation.sequence, check=_note, maximum=_MAX_NOTES), default=()
    )
    row_order: str = checked(
        partial(validation.one_of, allowed=("split", "source")), default="split"
    )
    chunk_rows: int = checked(partial(validation.integer, minimum=1), default=1)
    compression: str | None = checked(
        optional(partial(validation.one_of, allowed=("gzip", "lzf"))), default=None
    )
    provenance: Provenance = checked(record(Provenance), default=Provenance())
    cuts: tuple[Cut, ...] = checked(
        partial(validation.sequence, check=record(Cut), maximum=_MAX_CUTS), default=()
    )
    flags: tuple[FlagCount, ...] = checked(
        partial(validation.sequence, check=record(FlagCount), maximum=_MAX_FLAGS), default=()
    )
    flux_unit: str = checked(validation.text, default="relative to the continuum")
    wavelength_unit: str = checked(validation.text, default="Angstrom")
    error_counts: ErrorCounts | None = checked(optional(record(ErrorCounts)), default=None)
    members: tuple[Member, ...] = checked(
        partial(validation.sequence, check=record(Member), maximum=_MAX_MEMBERS), default=()
    )
    version: int = checked(validation.integer, default=FORMAT_VERSION)
    kind: str = checked(partial(validation.one_of, allowed=(_KIND,)), default=_KIND)

    def __post_init__(self) -> None:
        if len({column.name for column in self.labels}) != len(self.labels):
            raise FieldError("labels", "two labels have one name")
        if (self.quantization is None) != (self.dtype == "float32"):
            raise FieldError("quantization", f"it does not fit flux of {self.dtype}")
        if sum(self.split_sizes) != self.n_stars:
            raise FieldError("split_sizes", f"they do not add up to {self.n_stars} stars")
        has_error_digests = DIGEST_NAMES["error"] in self.digests
        if self.digests and has_error_digests != (self.error_counts is not None):
            raise FieldError("error_counts", "digests and counts of errors do not fit each other")
        has_member_digests = not set(MEMBER_NAMES) - set(self.digests)
        if self.digests and has_member_digests != bool(self.members):
            raise FieldError("members", "they do not fit the digests of the arrays")
        if len({member.name for member in self.members}) != len(self.members):
            raise FieldError("members", "two members have one name")

    @property
    def spec(self) -> StoreSpec:
        """Size, flux type and chunking of the store."""
        return StoreSpec(
            self.n_stars,
            self.n_pixels,
            len(self.labels),
            self.dtype,
            self.chunk_rows,
            self.compression,
            has_errors=self.error_counts is not None,
            members=self.members,
        )

    @property
    def largest(self) -> "Manifest":
        """The manifest with every count and digest at its largest: no text of it is longer."""
        return replace(
            self,
            pixel_counts=PixelCounts(_MAX_COUNT, _MAX_COUNT, _MAX_COUNT, _MAX_COUNT),
            digests=dict.fromkeys(self.spec.arrays(), "f" * _DIGEST_LENGTH),
            quantization=self.quantization and replace(self.quantization, clipped=_MAX_COUNT),
            error_counts=self.error_counts and ErrorCounts(*4 * (_MAX_COUNT,)),
        )

    def to_json(self) -> str:
        """Return the manifest as JSON with its own digest in the last field."""
        return signed(_without_absent(asdict(self)))

    def check_readable(self) -> None:
        """Apply the checks of :meth:`from_json` to a manifest that is to be written.

        Raises
        ------
        FieldError
            If a reader of this manifest would reject one of its fields.
        """
        text = self.to_json()
        if len(text.encode()) > MANIFEST_LIMIT:
            reason = (
                f"the manifest has {len(text):,} bytes, and at most {MANIFEST_LIMIT:,} are read"
            )
            raise FieldError("skipped" if self.skipped else "labels", reason)
        validation.from_mapping(Manifest, json.loads(text), ignore_unknown=True)

    @classmethod
    def from_json(cls, text: str, name: str) -> "Manifest":
        """Read a manifest, checking its version, digest and fields.

        Unknown fields are ignored: a later minor version may have added them.

        Raises
        ------
        StoreVersionError
            If the version is newer than this library reads.
        StoreFormatError
            If the text is not a manifest or was changed.
        """
        try:
            body = json.loads(text, parse_constant=_reject_constant)
            version = body["version"]
            stored_digest = body.pop("digest")
            is_ours = body["kind"] == _KIND and isinstance(version, int)
            digest = text_digest(_canonical(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_ours, version, stored_digest, digest = False, 0, "", ""
        if not is_ours:
            msg = f"{name}: not the manifest of a galahstream store; convert the source again"
            raise StoreFormatError(msg)
        if version > FORMAT_VERSION:
            msg = (
                f"{name}: the store has format version {version}; this galahstream reads up to "
                f"{FORMAT_VERSION}: install a newer galahstream"
            )
            raise StoreVersionError(msg)
        if stored_digest != digest:
            msg = f"{name}: the manifest does not match its own digest: it was damaged or edited"
            raise StoreFormatError(msg + "; convert the source again")
        try:
            return validation.from_mapping(cls, _with_current_names(body), ignore_unknown=True)
        except FieldError as error:
            msg = (
                f"{name}: invalid or missing manifest field {error.field!r}: {error.reason}; "
                f"convert the source again"
            )
            raise StoreFormatError(msg) from error


def encoding_of(manifest: Manifest) -> Encoding:
    """Return how the flux of a store is encoded."""
    stored = manifest.quantization
    return Float32() if stored is None else Quantized16(stored.bscale, stored.bzero)


def signed(body: Mapping[str, Any]) -> str:
    """Return the fields of a manifest as JSON, followed by their digest."""
    return json.dumps({**body, "digest": text_digest(_canonical(body))}, indent=1)


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _reject_constant(name: str) -> float:
    msg = f"{name} is not a number in JSON"
    raise ValueError(msg)


def _with_current_names(body: Mapping[str, object]) -> dict[str, object]:
    current = {_EARLIER_NAMES.get(name, name): value for name, value in body.items()}
    quantization = current.get("quantization")
    if isinstance(quantization, dict):
        current["quantization"] = {
            _EARLIER_QUANTIZATION_NAMES.get(name, name): value
            for name, value in quantization.items()
        }
    return current
