from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.conversion.journal import BlockRecord, Journal, Setting, SpectraSummary
from galahstream.errors import OptionError
from galahstream.store.manifest import ErrorCounts, PixelCounts
from galahstream.system.digest import text_digest

BLOCKS = [
    BlockRecord(
        3,
        {
            "flux": np.array([1, 2**64 - 1], np.uint64),
            "error": np.array([number, 7], np.uint64),
        },
        SpectraSummary(PixelCounts(nan=number), number, -0.5, 1.25, ErrorCounts(outside=number)),
    )
    for number in range(4)
]

SETTINGS = (
    Setting("seed", 42),
    Setting("split", (0.7, 0.15, 0.15)),
    Setting("the source files", "a1", is_digest=True),
)


def written(path: Path) -> Path:
    journal = Journal(path)
    journal.begin(SETTINGS, 0)
    for block in BLOCKS:
        journal.add(block)
    return path


def same(found: list[BlockRecord], expected: list[BlockRecord]) -> bool:
    return [block.to_json() for block in found] == [block.to_json() for block in expected]


def test_blocks_come_back_as_they_were_added(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "journal"))
    assert same(journal.blocks, BLOCKS)
    assert journal.blocks[2].summary == BLOCKS[2].summary


def test_infinite_limits_of_a_block_without_finite_pixels_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin((), 0)
    journal.add(BlockRecord(1, {"flux": np.zeros(1, np.uint64)}, SpectraSummary()))
    assert Journal(tmp_path / "journal").blocks[0].summary == SpectraSummary()


@given(cut=st.integers(0, 10_000), flip=st.integers(0, 10_000))
def test_a_torn_or_damaged_journal_gives_complete_blocks_from_the_first_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = written(tmp_path_factory.mktemp("torn") / "journal")
    data = bytearray(path.read_bytes()[: cut + 1])
    data[flip % len(data)] ^= 1
    path.write_bytes(data)
    found = Journal(path).blocks
    assert same(found, BLOCKS[: len(found)])


def test_other_settings_raise_naming_each(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "journal"))
    journal.check_settings(SETTINGS, Path("store"))
    changed = (Setting("seed", 43), *SETTINGS[1:2], Setting("the source files", "b2", True))
    expected = (
        "store: an interrupted conversion with other settings exists here: seed was 42 and is now "
        "43, the source files have changed; use the same settings to resume, or start over with "
        "resume=False (--no-resume)"
    )
    with pytest.raises(OptionError) as caught:
        journal.check_settings(changed, Path("store"))
    assert str(caught.value) == expected


def test_the_journal_of_another_version_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    text = '{"rows": 3}'
    line = f"{text_digest(text)} {text}\n"
    path.write_text(line + line)
    journal = Journal(path)
    assert journal.blocks == []
    journal.check_settings(SETTINGS, Path("store"))
