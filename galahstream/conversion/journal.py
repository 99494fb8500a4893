"""The journal of a conversion: its settings, then one line per block that was written."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.store.manifest import ErrorCounts, PixelCounts
from galahstream.system.digest import text_digest


class Setting(NamedTuple):
    """One thing that decides about the bytes of a store, compared when a run is resumed.

    Attributes
    ----------
    name : str
        Its name in messages.
    value
        A plain value, or for `is_digest` a digest that says nothing to users.
    """

    name: str
    value: str | int | float | bool | Sequence[float] | Sequence[str] | None
    is_digest: bool = False

    def describe_change(self, earlier: object) -> str:
        """Return what changed since the interrupted run."""
        if self.is_digest:
            return f"{self.name} have changed"
        return f"{self.name} was {earlier!r} and is now {_plain(self.value)!r}"


@dataclass(frozen=True)
class SpectraSummary:
    """Counts and limits of converted spectra; `lowest` and `highest` are of finite flux."""

    pixel_counts: PixelCounts = field(default_factory=PixelCounts)
    clipped: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    error_counts: ErrorCounts = field(default_factory=ErrorCounts)

    def __add__(self, other: "SpectraSummary") -> "SpectraSummary":
        return SpectraSummary(
            self.pixel_counts + other.pixel_counts,
            self.clipped + other.clipped,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.error_counts + other.error_counts,
        )


@dataclass(frozen=True)
class BlockRecord:
    """A block of source rows that was written: its size, row digests and summary.

    `digests` holds those of the flux, and of the errors if there are any, by name: arrays
    of shape (n,), uint64, in the order of the source, without rows that were skipped.
    """

    n_rows: int
    digests: Mapping[str, npt.NDArray[np.uint64]]
    summary: SpectraSummary

    def to_json(self) -> dict[str, object]:
        """Return the record as plain values."""
        digests = {
            name: [f"{digest:016x}" for digest in digests.tolist()]
            for name, digests in self.digests.items()
        }
        return {"rows": self.n_rows, "digests": digests, "summary": asdict(self.summary)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BlockRecord":
        """Return the record of plain values."""
        summary = dict(values["summary"])
        summary["pixel_counts"] = PixelCounts(**summary["pixel_counts"])
        summary["error_counts"] = ErrorCounts(**summary["error_counts"])
        digests = {
            name: np.array([int(digest, 16) for digest in digests], dtype=np.uint64)
            for name, digests in values["digests"].items()
        }
        return cls(values["rows"], digests, SpectraSummary(**summary))


class Journal:
    """Append-only log of written blocks.

    Each line carries its own digest: a killed process leaves at most one incomplete
    last line, which is ignored.

    Attributes
    ----------
    blocks : list of BlockRecord
        The blocks that were written, without gaps from the source's first row on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = _complete_lines(path)
        self._settings: Mapping[str, Any] | None = lines[0] if lines else None
        try:
            self.blocks = [BlockRecord.from_json(line) for line in lines[1:]]
        except (AttributeError, KeyError, TypeError, ValueError):  # of another version: start over
            self._settings, self.blocks = None, []

    def check_settings(self, settings: Sequence[Setting], destination: Path) -> None:
        """Raise `OptionError` if an interrupted run had other settings, naming each."""
        earlier = self._settings
        if earlier is None:
            return
        changes = [
            setting.describe_change(earlier.get(setting.name))
            for setting in settings
            if earlier.get(setting.name) != _plain(setting.value)
        ]
        if changes:
            msg = (
                f"{destination}: an interrupted conversion with other settings exists here: "
                f"{', '.join(changes)}; use the same settings to resume, or start over with "
                f"resume=False (--no-resume)"
            )
            raise OptionError(msg)

    def begin(self, settings: Sequence[Setting], n_blocks: int) -> None:
        """Write the file again with the settings and the first `n_blocks` of its blocks."""
        del self.blocks[n_blocks:]
        values = {setting.name: _plain(setting.value) for setting in settings}
        lines = [_line(values), *(_line(block.to_json()) for block in self.blocks)]
        temporary = self._path.with_name("journal.new")
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(self._path)

    def add(self, block: BlockRecord) -> None:
        """Append a block that was written to the store."""
        self.blocks.append(block)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, _line(block.to_json()).encode())
        finally:
            os.close(descriptor)


def _plain(value: object) -> object:
    """Return a value as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def _line(values: Mapping[str, object]) -> str:
    text = json.dumps(values)
    return f"{text_digest(text)} {text}\n"


def _complete_lines(path: Path) -> list[Mapping[str, Any]]:
    """Return the values of the lines before the first that is incomplete or damaged."""
    lines: list[Mapping[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, text = line.partition(" ")
            if digest != text_digest(text):
                break
            lines.append(json.loads(text))
    return lines
