"""Kernels of numpy, row by row: the passes over one spectrum stay in the cache."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import Encoding, Float32, Quantized16
from galahstream.stream.kernels.base import (
    Kernel,
    Pixels,
    copy_rows,
    decode_rows,
    gather_rows,
    log_table,
)
from galahstream.stream.transforms import LogFlux


def make_kernel(encoding: Encoding, log: LogFlux | None, pixels: Pixels = None) -> Kernel:
    """Return the kernel that decodes values and takes the logarithm if there is a `log`."""
    kernel = _make_row_kernel(encoding, log)
    return kernel if pixels is None else partial(gather_rows, kernel, pixels)


def _make_row_kernel(encoding: Encoding, log: LogFlux | None) -> Kernel:
    if isinstance(encoding, Quantized16):
        table = encoding.table if log is None else log_table(encoding, log)
        return partial(_look_up_rows, table)
    if isinstance(encoding, Float32) and log is None:
        return copy_rows
    return partial(decode_rows, encoding, log)


def _look_up_rows(
    table: npt.NDArray[np.float32],
    buffer: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    width = out.shape[1]
    for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
        # mode="clip" spares np.take a second copy of the output; no value is outside.
        np.take(table, buffer[start : start + width], out=out[row], mode="clip")
