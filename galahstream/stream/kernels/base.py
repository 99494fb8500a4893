"""The contract of a kernel, and the parts that NumPy and numba share."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import NO_VALUE, Encoding, Quantized16
from galahstream.stream.transforms import LogFlux

Kernel: TypeAlias = Callable[
    [npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]],
    None,
]
"""``kernel(buffer, starts, out, rows)`` fills row ``rows[i]`` of `out`, shape (m, width), float32,
from ``buffer[starts[i] : starts[i] + width]``, which holds stored values; a kernel that was made
for some pixels from ``buffer[starts[i] + pixels]``."""

Pixels: TypeAlias = npt.NDArray[np.int64] | None
"""Pixels that a kernel reads of each row, increasing, shape (width,); None for adjacent ones."""


def copy_rows(
    buffer: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    """Copy float32 flux as it is."""
    width = out.shape[1]
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        out[row] = buffer[start : start + width]


def decode_rows(
    encoding: Encoding,
    log: LogFlux | None,
    buffer: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    """Decode values of any encoding, and take the logarithm if there is a `log`."""
    width = out.shape[1]
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        out[row] = encoding.decode(buffer[start : start + width])
        if log is not None:
            log.apply_in_place(out[row])


def gather_rows(
    kernel: Kernel,
    pixels: npt.NDArray[np.int64],
    buffer: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    """Collect some pixels of each row, and hand them side by side to a kernel for adjacent ones."""
    end = int(pixels[-1]) + 1
    gathered = np.empty(len(pixels), dtype=buffer.dtype)
    first = np.zeros(1, dtype=np.int64)
    for index, start in enumerate(starts.tolist()):
        # mode="clip" spares np.take a second copy of the output; no pixel is outside.
        np.take(buffer[start : start + end], pixels, out=gathered, mode="clip")
        kernel(gathered, first, out, rows[index : index + 1])


@lru_cache(maxsize=8)
def log_table(quantized: Quantized16, log: LogFlux) -> npt.NDArray[np.float32]:
    """Return the transformed flux of each 16-bit value, shape (65536,), float32."""
    flux = quantized.table.astype(np.float64)
    flux[NO_VALUE] = log.fill
    with np.errstate(under="ignore"):  # logarithms close to 0
        return np.log(np.maximum(flux, log.floor)).astype(np.float32)
