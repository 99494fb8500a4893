"""XXH3-64 digests of rows, arrays and text."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash


def row_digests(
    flat: npt.NDArray[Any], starts: npt.NDArray[np.int64], n_pixels: int
) -> npt.NDArray[np.uint64]:
    """Return the digests of rows, each being ``flat[start : start + n_pixels]``."""
    # A slice of a memoryview costs a quarter of one of an array.
    data, digest = flat.data, xxhash.xxh3_64_intdigest
    found = [digest(data[start : start + n_pixels]) for start in starts.tolist()]
    return np.array(found, dtype=np.uint64)


def array_digest(array: npt.NDArray[np.generic]) -> str:
    """Return the digest of an array's bytes in C order, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def text_digest(text: str) -> str:
    """Return the digest of a text in UTF-8, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(text.encode())
