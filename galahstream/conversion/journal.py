"""What of a conversion is done: the settings, then a line for each block of the source."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.store.manifest import PixelCounts
from galahstream.system.digest import text_digest


@dataclass(frozen=True)
class FluxSummary:
    """What was found in flux on its way; `lowest` and `highest` are of finite pixels."""

    pixel_counts: PixelCounts = field(default_factory=PixelCounts)
    clipped: int = 0
    lowest: float = np.inf
    highest: float = -np.inf

    def __add__(self, other: "FluxSummary") -> "FluxSummary":
        return FluxSummary(
            self.pixel_counts + other.pixel_counts,
            self.clipped + other.clipped,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )


@dataclass(frozen=True)
class Block:
    """Rows of a source that are in the store: how many, the digests of those kept, what was found.

    `digests` has shape (n,), uint64, in the order of the source.
    """

    n_rows: int
    digests: npt.NDArray[np.uint64]
    written: FluxSummary

    def to_json(self) -> dict[str, Any]:
        """Return the block as plain values."""
        digests = [f"{digest:016x}" for digest in self.digests.tolist()]
        return {"rows": self.n_rows, "digests": digests, "written": asdict(self.written)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Block":
        """Return the block of plain values."""
        found = dict(values["written"])
        found["pixel_counts"] = PixelCounts(**found["pixel_counts"])
        digests = np.array([int(digest, 16) for digest in values["digests"]], dtype=np.uint64)
        return cls(values["rows"], digests, FluxSummary(**found))


class Journal:
    """The blocks that were written, in a file that a killed process leaves whole lines of.

    Attributes
    ----------
    blocks : list of Block
        What is noted, from the source's first row on without a gap.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.blocks: list[Block] = []
        self._settings: dict[str, Any] | None = None
        self._lines = 0
        for number, line in enumerate(_whole_lines(path)):
            if number == 0:
                self._settings = line
            else:
                self.blocks.append(Block.from_json(line))

    def check_settings(self, settings: Mapping[str, Any], destination: Path) -> None:
        """Raise `OptionError` where an earlier run had other settings, naming them."""
        if self._settings is None:
            return
        settings = json.loads(json.dumps(settings))
        names = [name for name in settings if settings[name] != self._settings.get(name)]
        if names:
            changes = ", ".join(
                f"{name} was {self._settings.get(name)!r} and is {settings[name]!r}"
                for name in names
            )
            msg = (
                f"{destination}: a conversion into it was cut off, and had other settings: "
                f"{changes}; give the same to go on with it, or begin anew with resume=False "
                f"(--no-resume)"
            )
            raise OptionError(msg)

    def begin(self, settings: Mapping[str, Any], n_blocks: int) -> None:
        """Write the file anew with the settings and the first `n_blocks` of its blocks."""
        del self.blocks[n_blocks:]
        lines = [_line(dict(settings)), *(_line(block.to_json()) for block in self.blocks)]
        temporary = self._path.with_name("journal.new")
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(self._path)

    def add(self, block: Block) -> None:
        """Note that a block is in the store."""
        self.blocks.append(block)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, _line(block.to_json()).encode())
        finally:
            os.close(descriptor)


def _line(values: dict[str, Any]) -> str:
    text = json.dumps(values)
    return f"{text_digest(text)} {text}\n"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the values of the lines up to the first that is not whole."""
    found: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, text = line.partition(" ")
            if digest != text_digest(text):
                break
            found.append(json.loads(text))
    return found
