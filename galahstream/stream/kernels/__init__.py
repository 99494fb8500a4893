"""Decode, fill, floor and log in one pass over memory, with numba or with numpy."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import Encoding
from galahstream.stream.kernels import augment as numpy_augment
from galahstream.stream.kernels import errors as numpy_errors
from galahstream.stream.kernels import numpy as numpy_kernels
from galahstream.stream.kernels.augment import AugmentKernel, AugmentPlan
from galahstream.stream.kernels.base import Kernel, Pixels
from galahstream.stream.kernels.errors import ErrorKernel
from galahstream.stream.transforms import FluxTransform, LogFlux

__all__ = [
    "AugmentKernel",
    "AugmentPlan",
    "ErrorKernel",
    "Kernel",
    "KernelBackend",
    "best_backend",
    "choose_augment_kernel",
    "choose_error_kernel",
    "choose_kernel",
    "is_fused",
    "numba_backend",
    "numpy_backend",
]


@dataclass(frozen=True)
class KernelBackend:
    """The kernels of numba or numpy.

    `make_kernel` takes an encoding, a `LogFlux` or None, and pixels or None;
    `make_error_kernel` takes an encoding, a `LogFlux` or None, and pixels;
    `make_augment_kernel` an encoding, a `LogFlux` or None, and a plan. `problem` tells why
    numba's kernels cannot be used.
    """

    name: str
    make_kernel: Callable[[Encoding, LogFlux | None, Pixels], Kernel]
    make_error_kernel: Callable[[Encoding, LogFlux | None, npt.NDArray[np.int64]], ErrorKernel]
    make_augment_kernel: Callable[[Encoding, LogFlux | None, AugmentPlan], AugmentKernel]
    problem: str = ""


def numpy_backend(problem: str = "") -> KernelBackend:
    """Return the kernels of numpy."""
    return KernelBackend(
        "numpy",
        numpy_kernels.make_kernel,
        numpy_errors.make_kernel,
        numpy_augment.make_kernel,
        problem,
    )


def numba_backend() -> KernelBackend:
    """Return the kernels of numba, whose import can raise any exception."""
    from galahstream.stream.kernels import numba as numba_kernels
    from galahstream.stream.kernels import numba_augment, numba_errors

    return KernelBackend(
        "numba",
        numba_kernels.make_kernel,
        numba_errors.make_kernel,
        numba_augment.make_kernel,
    )


@cache
def best_backend() -> KernelBackend:
    """Return numba's kernels if numba can be imported; else numpy's, with one warning."""
    try:
        return numba_backend()
    except Exception as error:  # a broken installation can raise anything
        problem = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"galahstream reads with numpy's kernels, at half the speed of numba's ({problem}): "
            f"pip install 'galahstream[fast]'",
            stacklevel=4,  # where the dataset is made
        )
        return numpy_backend(problem)


def choose_kernel(
    encoding: Encoding,
    transform: FluxTransform,
    backend: KernelBackend | None = None,
    pixels: Pixels = None,
) -> Kernel:
    """Return the kernel that reads stored values for a transform.

    `LogFlux` is fused into the kernel; before any other transform, it only decodes.

    Parameters
    ----------
    encoding : Encoding
        How the flux is stored.
    transform : callable or None
        The transform of a dataset.
    backend : KernelBackend, optional
        Whose kernels; by default those of :func:`best_backend`.
    pixels : ndarray, shape (n,), int64, optional
        Pixels to read of each row, increasing, counted from where it starts; by default
        as many adjacent ones as the output holds, which is fastest.
    """
    log = transform if is_fused(transform) else None
    return (backend or best_backend()).make_kernel(encoding, log, pixels)


def choose_error_kernel(
    encoding: Encoding,
    log: LogFlux | None,
    pixels: npt.NDArray[np.int64],
    backend: KernelBackend | None = None,
) -> ErrorKernel:
    """Return the kernel that reads errors beside the flux.

    Parameters
    ----------
    encoding : Encoding
        How the flux is stored.
    log : LogFlux or None
        Of its logarithm, the error is relative to the flux, of at least the floor.
    pixels : ndarray, shape (n,), int64
        Pixels to read of each row, increasing.
    backend : KernelBackend, optional
        Whose kernels; by default those of :func:`best_backend`.
    """
    return (backend or best_backend()).make_error_kernel(encoding, log, pixels)


def choose_augment_kernel(
    encoding: Encoding,
    transform: FluxTransform,
    plan: AugmentPlan,
    backend: KernelBackend | None = None,
) -> AugmentKernel:
    """Return the kernel that augments flux while it reads it.

    `LogFlux` is fused into the kernel; before any other transform, it decodes and augments.

    Parameters
    ----------
    encoding : Encoding
        How the flux is stored.
    transform : callable or None
        The transform of a dataset.
    plan : AugmentPlan
        Which pixels of each row, and what is done to them.
    backend : KernelBackend, optional
        Whose kernels; by default those of :func:`best_backend`.
    """
    log = transform if is_fused(transform) else None
    return (backend or best_backend()).make_augment_kernel(encoding, log, plan)


def is_fused(transform: FluxTransform) -> TypeGuard[LogFlux | None]:
    """Return whether a kernel does all of a transform; a subclass may compute something else."""
    return transform is None or type(transform) is LogFlux
