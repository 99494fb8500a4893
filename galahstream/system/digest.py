"""XXH3-64 digests of rows, arrays and text."""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

_READ_BYTES = 1024 * 1024


def row_digests(
    buffer: npt.NDArray[np.generic], starts: npt.NDArray[np.int64], n_pixels: int
) -> npt.NDArray[np.uint64]:
    """Return the digests of rows in a buffer, of the bytes as they are stored.

    Parameters
    ----------
    buffer : ndarray, one-dimensional
        Stored values; row i is ``buffer[starts[i] : starts[i] + n_pixels]``.
    starts : ndarray, shape (n,), int64
        Index of the first value of each row.
    n_pixels : int
        Values per row.

    Returns
    -------
    ndarray, shape (n,), uint64
    """
    # Slicing a memoryview costs a quarter of slicing an array.
    data, digest = buffer.data, xxhash.xxh3_64_intdigest
    digests = [digest(data[start : start + n_pixels]) for start in starts.tolist()]
    return np.array(digests, dtype=np.uint64)


def array_digest(array: npt.NDArray[np.generic]) -> str:
    """Return the digest of an array's bytes in C order, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def text_digest(text: str) -> str:
    """Return the digest of a text in UTF-8, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(text.encode())


def file_digest(file: BinaryIO, offset: int) -> str:
    """Return the digest of a file's bytes from an offset on, as 16 hexadecimal digits."""
    hasher = xxhash.xxh3_64()
    file.seek(offset)
    while block := file.read(_READ_BYTES):
        hasher.update(block)
    return hasher.hexdigest()
