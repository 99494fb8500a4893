"""The flags of predictions: what a reader of a catalogue should know before using a star."""

from collections.abc import Mapping
from enum import IntFlag

MAX_EXTRA_BAD_PIXELS = 0.1
"""Fraction of bad pixels, beyond that of a typical training star, from which stars are flagged."""


class PredictionFlag(IntFlag):
    """Bits of the column ``flag``; 0 is good."""

    LABEL_RANGE = 1
    BAD_PIXELS = 2
    UNUSUAL_SPECTRUM = 4

    @property
    def meaning(self) -> str:
        """What one bit says."""
        return _MEANINGS[self]


ALL_FLAGS = PredictionFlag.LABEL_RANGE | PredictionFlag.BAD_PIXELS | PredictionFlag.UNUSUAL_SPECTRUM

_MEANINGS = {
    PredictionFlag.LABEL_RANGE: "label outside the range of the training labels",
    PredictionFlag.BAD_PIXELS: "too many bad pixels",
    PredictionFlag.UNUSUAL_SPECTRUM: "spectrum unlike those of the training stars",
}


def flag_lines(checked: PredictionFlag) -> tuple[str, ...]:
    """Return what each bit means, a line each, and which of them the model cannot set."""
    return tuple(
        f"flag {flag.value}: {flag.meaning}" + ("" if flag in checked else " (not checked)")
        for flag in PredictionFlag
    )


def flag_count_lines(counts: Mapping[PredictionFlag, int]) -> tuple[str, ...]:
    """Return how many stars have each flag, a line each; flags without a count were not checked."""
    return tuple(
        f"flag {flag.value}: {counts[flag]:,} stars ({flag.meaning})"
        if flag in counts
        else f"flag {flag.value}: not checked for a model of an earlier version or a network of "
        f"your own ({flag.meaning})"
        for flag in PredictionFlag
    )
