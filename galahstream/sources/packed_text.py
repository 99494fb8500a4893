"""Many short texts in two arrays; as strings they would need several times the memory."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Names of files may hold bytes that are not UTF-8; Python shows them as surrogates.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


@dataclass(frozen=True, eq=False)
class PackedText:
    """An immutable sequence of n texts.

    Attributes
    ----------
    data : ndarray, one-dimensional, uint8
        The texts in UTF-8, end to end.
    ends : ndarray, shape (n,), int64
        The index behind the last byte of each text.

    Examples
    --------
    >>> from galahstream.sources.packed_text import PackedText
    >>> nights = PackedText.of(["140209", "140210"])
    >>> len(nights), nights[1], list(nights)
    (2, '140210', ['140209', '140210'])
    """

    data: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "PackedText":
        """Return the texts packed."""
        packer = TextPacker()
        for text in texts:
            packer.append(text)
        return packer.packed()

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.data[start : self.ends[index]].tobytes().decode(_ENCODING, _ERRORS)

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))


class TextPacker:
    """Texts that are packed one after the other."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._data += text.encode(_ENCODING, _ERRORS)
        self._ends.append(len(self._data))

    def packed(self) -> PackedText:
        """Return all texts."""
        return PackedText(
            np.array(self._data, dtype=np.uint8), np.array(self._ends, dtype=np.int64)
        )
