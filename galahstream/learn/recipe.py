"""How spectra become the input of a network, and how its outputs become labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.transforms import LogFlux, ZScore
from galahstream.survey.windows import PlainWindow, pixel_spans, window_from_file
from galahstream.system.digest import array_digest
from galahstream.validation import (
    FieldError,
    checked,
    integer,
    number,
    optional,
    record,
    sequence,
    text,
)

_MAX_PIXELS = 2**31
_MAX_LABELS = 4096
# Of wavelengths in Å: grids that differ by rounding are the same.
_GRID_DECIMALS = 5

NATIVE = "native"
"""Name of the pixels that the spectrograph gave."""

_Scaled = TypeVar("_Scaled")

_above_zero = partial(number, above=0)


check_texts = partial(sequence, check=text, maximum=_MAX_LABELS)
"""Check the names or units of labels in a file."""

_numbers = partial(sequence, check=number, maximum=_MAX_LABELS)
_numbers_above_zero = partial(sequence, check=_above_zero, maximum=_MAX_LABELS)


def check_range(value: object) -> tuple[float, float]:
    """Check a range in Å in a file, low and high."""
    low, high = sequence(value, number, minimum=2, maximum=2)
    return low, high


@dataclass(frozen=True)
class InputSpan:
    """Some pixels of a network's input that are adjacent in the spectra of a store.

    Attributes
    ----------
    n_pixels : int
    first, last : float
        Wavelengths of the first and the last of them, Å.
    """

    n_pixels: int = checked(partial(integer, minimum=1, maximum=_MAX_PIXELS))
    first: float = checked(number)
    last: float = checked(number)


@dataclass(frozen=True)
class GridIdentity:
    """What tells whether spectra are on the same wavelength grid.

    Attributes
    ----------
    name : str or None
        The grid that the spectra were resampled onto; `NATIVE` for the pixels of the
        spectrograph, of which the wavelengths differ from star to star; None if not known.
    digest : str or None
        Of the wavelengths of the input; None if they are not known.
    """

    name: str | None = checked(optional(text), default=None)
    digest: str | None = checked(optional(text), default=None)

    @classmethod
    def of_dataset(cls, dataset: SpectraDataset) -> "GridIdentity":
        """Return the grid of a dataset's pixels."""
        name = dataset.store.provenance.grid
        if name is None and dataset.store.wavelength_is_nominal:
            return cls(NATIVE)
        is_known = np.isfinite(dataset.wavelength).all()
        rounded = np.round(dataset.wavelength, _GRID_DECIMALS)
        return cls(name, array_digest(rounded) if is_known else None)

    def differs_from(self, other: "GridIdentity") -> bool:
        """Return whether two grids differ, as far as is known.

        Wavelengths that users gave for spectra which were not resampled may be
        approximate, and are not compared with each other.
        """
        names, digests = {self.name, other.name}, {self.digest, other.digest}
        if names != {None} and None not in digests:
            return len(digests) > 1
        return None not in names and len(names) > 1


@dataclass(frozen=True)
class Recipe:
    """How spectra become the input of a network, and its outputs labels.

    Attributes
    ----------
    n_pixels : int
        Pixels of the input, L.
    labels, units : tuple of str
        Names and units of the K labels.
    mean, std : tuple of float
        Of the labels that the network was trained on, in their units.
    floor, fill : float
        Those of :class:`~galahstream.LogFlux`.
    window : str, (float, float), tuple of them, PixelMask or None
        The pixels of a store that are the input; None for all of them.
    wavelength_range : (float, float) or None
        First and last wavelength of the input in Å; None if they are not known.
    split_fingerprint : str
        Identifies the split of the training store.
    seed : int
        Seed of the training.
    frame : str or None
        ``"observed"`` or ``"rest"``; None if the training store did not say.
    grid : GridIdentity
        The wavelength grid of the input.
    spans : tuple of InputSpan
        The spans of adjacent pixels that the input consists of; empty if their wavelengths
        are not known, and in models of early versions, which took one span.
    """

    n_pixels: int = checked(partial(integer, minimum=1, maximum=_MAX_PIXELS))
    labels: tuple[str, ...] = checked(partial(check_texts, minimum=1))
    units: tuple[str, ...] = checked(check_texts)
    mean: tuple[float, ...] = checked(_numbers)
    std: tuple[float, ...] = checked(_numbers_above_zero)
    floor: float = checked(_above_zero)
    fill: float = checked(_above_zero)
    window: PlainWindow = checked(optional(window_from_file))
    wavelength_range: tuple[float, float] | None = checked(optional(check_range))
    split_fingerprint: str = checked(text)
    seed: int = checked(integer)
    frame: str | None = checked(optional(text), default=None)
    grid: GridIdentity = checked(record(GridIdentity), default=GridIdentity())
    spans: tuple[InputSpan, ...] = checked(
        partial(sequence, check=record(InputSpan), maximum=_MAX_PIXELS), default=()
    )

    def __post_init__(self) -> None:
        for name in ("units", "mean", "std"):
            if len(getattr(self, name)) != len(self.labels):
                reason = f"found {len(getattr(self, name))} values for {len(self.labels)} labels"
                raise FieldError(name, reason)
        n_pixels = sum(span.n_pixels for span in self.spans)
        if self.spans and n_pixels != self.n_pixels:
            raise FieldError("spans", f"found {n_pixels} pixels for an input of {self.n_pixels}")

    @classmethod
    def of_dataset(cls, dataset: SpectraDataset, seed: int) -> "Recipe":
        """Return the recipe of a network that is trained on a dataset."""
        transform, scaling = dataset.transform, dataset.target_transform
        assert isinstance(transform, LogFlux)
        assert scaling is not None
        assert scaling.mean is not None
        assert scaling.std is not None
        return cls(
            n_pixels=dataset.n_pixels,
            labels=dataset.label_names,
            units=dataset.label_units,
            mean=tuple(scaling.mean.tolist()),
            std=tuple(scaling.std.tolist()),
            floor=float(transform.floor),
            fill=float(transform.fill),
            window=dataset.window,
            wavelength_range=wavelength_range(dataset),
            split_fingerprint=dataset.store.split_fingerprint,
            seed=seed,
            frame=dataset.store.provenance.frame,
            grid=GridIdentity.of_dataset(dataset),
            spans=_input_spans(dataset),
        )

    @property
    def transform(self) -> LogFlux:
        """The transform of the flux."""
        return LogFlux(self.floor, self.fill)

    @property
    def target_transform(self) -> ZScore:
        """The scaling of the labels."""
        return ZScore(mean=self.mean, std=self.std)

    @property
    def known_spans(self) -> tuple[InputSpan, ...]:
        """The spans of the input, also of a model of an early version; empty if not known."""
        if self.spans or self.wavelength_range is None:
            return self.spans
        return (InputSpan(self.n_pixels, *self.wavelength_range),)

    def of_labels(self, names: Sequence[str]) -> "Recipe":
        """Return the recipe of some of the labels."""
        columns = [self.labels.index(name) for name in names]
        return replace(
            self,
            labels=tuple(names),
            units=tuple(self.units[column] for column in columns),
            mean=tuple(self.mean[column] for column in columns),
            std=tuple(self.std[column] for column in columns),
        )

    def to_uncertainties(self, scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return scaled 1 σ uncertainties of shape (..., K) in the units of the labels."""
        return self.target_transform.inverse_errors(scaled)

    def to_labels(self, scaled: _Scaled) -> _Scaled:
        """Return scaled labels of shape (..., K) in their units: a tensor for a tensor."""
        return self.target_transform.inverse(scaled)


def wavelength_range(dataset: SpectraDataset) -> tuple[float, float] | None:
    """Return first and last wavelength of a dataset's pixels in Å, or None if not known."""
    grid = dataset.wavelength
    return (float(grid[0]), float(grid[-1])) if np.isfinite(grid).all() else None


def _input_spans(dataset: SpectraDataset) -> tuple[InputSpan, ...]:
    grid = dataset.store.wavelength
    if not np.isfinite(grid).all():
        return ()
    return tuple(
        InputSpan(stop - start, float(grid[start]), float(grid[stop - 1]))
        for start, stop in pixel_spans(dataset.pixels).tolist()
    )
