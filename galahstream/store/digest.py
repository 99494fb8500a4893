"""XXH3-64 digests of rows, arrays and text."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash


def row_digests(
    rows: npt.NDArray[np.generic] | Sequence[npt.NDArray[np.generic]],
) -> npt.NDArray[np.uint64]:
    """Return the digest of each row's bytes; `rows` are C-ordered, n of L values."""
    return np.fromiter(
        (xxhash.xxh3_64_intdigest(row.data) for row in rows), dtype=np.uint64, count=len(rows)
    )


def array_digest(array: npt.NDArray[np.generic]) -> str:
    """Return the digest of an array's bytes in C order, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def text_digest(text: str) -> str:
    """Return the digest of a text in UTF-8, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(text.encode())
