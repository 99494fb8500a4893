from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.conversion.journal import Block, FluxSummary, Journal
from galahstream.errors import OptionError
from galahstream.store.manifest import PixelCounts

BLOCKS = [
    Block(
        3,
        np.array([1, 2**64 - 1], np.uint64),
        FluxSummary(PixelCounts(nan=number), number, -0.5, 1.25),
    )
    for number in range(4)
]


def written(path: Path) -> Path:
    journal = Journal(path)
    journal.begin({"seed": 42, "split": (0.7, 0.15, 0.15)}, 0)
    for block in BLOCKS:
        journal.add(block)
    return path


def same(found: list[Block], expected: list[Block]) -> bool:
    return [block.to_json() for block in found] == [block.to_json() for block in expected]


def test_blocks_come_back_as_they_were_noted(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "journal"))
    assert same(journal.blocks, BLOCKS)
    assert journal.blocks[2].written == BLOCKS[2].written


def test_infinite_limits_of_a_block_without_finite_pixels_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin({}, 0)
    journal.add(Block(1, np.zeros(1, np.uint64), FluxSummary()))
    assert Journal(tmp_path / "journal").blocks[0].written == FluxSummary()


@given(cut=st.integers(0, 10_000), flip=st.integers(0, 10_000))
def test_a_torn_or_damaged_journal_gives_whole_blocks_from_the_first_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = written(tmp_path_factory.mktemp("torn") / "journal")
    data = bytearray(path.read_bytes()[: cut + 1])
    data[flip % len(data)] ^= 1
    path.write_bytes(data)
    found = Journal(path).blocks
    assert same(found, BLOCKS[: len(found)])


def test_other_settings_are_refused_naming_each(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "journal"))
    journal.check_settings({"seed": 42, "split": (0.7, 0.15, 0.15)}, Path("store"))
    with pytest.raises(OptionError, match=r"seed was 42 and is 43;.*--no-resume"):
        journal.check_settings({"seed": 43, "split": (0.7, 0.15, 0.15)}, Path("store"))
