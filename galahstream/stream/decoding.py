"""Rows of a store as a kernel makes them: transformed flux, with errors beside it if they are due.

Flux and errors of a few rows at a time are read, decoded and transformed while they are in
the CPU cache: one pass over memory, whatever way of reading each of the two has.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.store import SpectraStore
from galahstream.store.protocol import SpectraArray
from galahstream.store.readers import RowSpan
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.draws import EpochDraws
from galahstream.stream.kernels import (
    AugmentKernel,
    AugmentPlan,
    choose_augment_kernel,
    choose_error_kernel,
    choose_kernel,
    is_fused,
)
from galahstream.stream.transforms import FluxTransform

# Flux and errors of four rows of 16,384 pixels stay in the second-level cache.
_CACHED_ROWS = 4

_Rows: TypeAlias = npt.NDArray[np.int64]
_Out: TypeAlias = npt.NDArray[np.float32]
_PairConsumer: TypeAlias = Callable[[RowSpan, RowSpan], None]


class Decoder:
    """Reads pixels of rows of a store into batches, through the kernels for a transform.

    Parameters
    ----------
    store : SpectraStore
    transform : callable or None
        `LogFlux` is part of the kernels; before any other transform, they only decode.
    pixels : ndarray, shape (L,), int64
        Pixels to read, increasing.
    return_error : bool
        Whether errors can be read too.

    Raises
    ------
    OptionError
        If errors are to be returned and the store has none, or the transform is one
        through which they cannot be followed.
    """

    def __init__(
        self,
        store: SpectraStore,
        transform: FluxTransform,
        pixels: npt.NDArray[np.int64],
        return_error: bool,
    ) -> None:
        self._store, self._flux = store, store.flux
        self._transform, self._pixels = transform, pixels
        self._augment_kernels: dict[Augmentation, AugmentKernel] = {}
        first, last = int(pixels[0]), int(pixels[-1])
        are_adjacent = last - first == len(pixels) - 1
        self._first_pixel = first if are_adjacent else 0
        self._kernel = choose_kernel(
            store.flux.encoding, transform, pixels=None if are_adjacent else pixels
        )
        self._error: SpectraArray | None = None
        if return_error:
            self._error = _checked_errors(store)
            if not is_fused(transform):
                msg = (
                    f"return_error=True cannot be used with the transform {transform!r}: only of "
                    f"LogFlux and of no transform (transform=None) is the error known; transform "
                    f"flux and errors after they were read"
                )
                raise OptionError(msg)
            self._error_kernel = choose_error_kernel(store.flux.encoding, transform, pixels)

    def read(
        self,
        rows: _Rows,
        out: Sequence[_Out],
        positions: _Rows,
        draws: EpochDraws | None = None,
    ) -> None:
        """Write the spectra of rows of the store into some rows of arrays.

        Parameters
        ----------
        rows : ndarray, shape (n,), int64
            Rows of the store.
        out : sequence of ndarray, shape (m, L), float32
            For the flux, and for the errors if they are returned.
        positions : ndarray, shape (n,), int64
            Row of `out` of each of them.
        draws : EpochDraws, optional
            How the flux is augmented.
        """
        if draws is not None:
            self._read_augmented(rows, out[0], positions, draws)
            return

        def transform(span: RowSpan) -> None:
            starts = span.starts + self._first_pixel if self._first_pixel else span.starts
            self._kernel(span.buffer, starts, out[0], positions[span.positions])

        def transform_pair(flux: RowSpan, error: RowSpan) -> None:
            transform(flux)
            self._error_kernel(
                flux.buffer,
                flux.starts,
                error.buffer,
                error.starts,
                out[1],
                positions[flux.positions],
            )

        if self._error is None:
            self._flux.read(rows, transform)
        else:
            _read_pairs(self._flux, self._error, rows, transform_pair)

    def transform(
        self, flux: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return what a transform that is not part of the kernels makes of flux of rows.

        Raises
        ------
        OptionError
            If it changes type or shape, or makes NaN.
        """
        assert self._transform is not None
        result = np.ascontiguousarray(self._transform(flux))
        if result.dtype != np.float32 or result.shape != flux.shape:
            msg = (
                f"the transform made {result.dtype} of shape {result.shape} out of float32 of "
                f"shape {flux.shape}; it must keep both"
            )
            raise OptionError(msg)
        if np.isnan(result).any():
            row, pixel = (int(index[0]) for index in np.nonzero(np.isnan(result)))
            msg = (
                f"{self._store.path}: the transform made NaN of row {rows[row]}, pixel "
                f"{self._pixels[pixel]}; it must give a number for every flux, NaN too"
            )
            raise OptionError(msg)
        return result

    def prepare_augmentation(self, augmentation: Augmentation) -> AugmentKernel:
        """Return the kernel of an augmentation, made when it is first asked for.

        Raises
        ------
        OptionError
            If errors are returned, which describe the spectra as they are stored.
        WavelengthError
            If spectra are to be shifted and their wavelengths are not known.
        """
        if self._error is not None:
            msg = (
                f"{self._store.path}: augment={str(augmentation)!r} cannot be used with "
                f"return_error=True: the errors are those of the spectra as they are stored; "
                f"leave out one of them"
            )
            raise OptionError(msg)
        if augmentation not in self._augment_kernels:
            wavelength = self._store.wavelength[self._pixels]
            name = str(self._store.path)
            plan = AugmentPlan.of_pixels(augmentation, wavelength, self._pixels, name)
            kernel = choose_augment_kernel(self._flux.encoding, self._transform, plan)
            self._augment_kernels[augmentation] = kernel
        return self._augment_kernels[augmentation]

    def _read_augmented(self, rows: _Rows, out: _Out, positions: _Rows, draws: EpochDraws) -> None:
        kernel = self.prepare_augmentation(draws.augmentation)
        row_draws = draws.of_rows(rows)

        def augment(span: RowSpan) -> None:
            part = row_draws.part(span.positions)
            kernel(span.buffer, span.starts, out, positions[span.positions], part)

        self._flux.read(rows, augment)


def _read_pairs(
    flux: SpectraArray, error: SpectraArray, rows: _Rows, consume: _PairConsumer
) -> None:
    """Call `consume` with spans of flux and of errors, of the same few rows each."""

    def read_errors(flux_span: RowSpan) -> None:
        first = flux_span.positions.start

        def consume_pair(error_span: RowSpan) -> None:
            begin = error_span.positions.start
            for start in range(0, len(error_span.starts), _CACHED_ROWS):
                starts = error_span.starts[start : start + _CACHED_ROWS]
                inside = slice(begin + start, begin + start + len(starts))
                positions = slice(first + inside.start, first + inside.stop)
                consume(
                    RowSpan(positions, flux_span.buffer, flux_span.starts[inside]),
                    RowSpan(positions, error_span.buffer, starts),
                )

        error.read(rows[flux_span.positions], consume_pair)

    flux.read(rows, read_errors)


def _checked_errors(store: SpectraStore) -> SpectraArray:
    if store.error is None:
        msg = (
            f"{store.path}: the store has no errors of its pixels, and return_error=True needs "
            f"them; convert the source again with its errors (errors=True, --errors)"
        )
        raise OptionError(msg)
    return store.error
