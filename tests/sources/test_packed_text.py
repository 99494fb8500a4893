"""Texts in arrays."""

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from galahstream.sources.packed_text import PackedText

NAMES = st.binary(max_size=9).map(os.fsdecode)


@given(texts=st.lists(NAMES | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)))
def test_texts_come_back_in_order_whatever_their_bytes(texts: list[str]) -> None:
    packed = PackedText.of(texts)
    assert len(packed) == len(texts)
    assert list(packed) == texts
    assert [packed[index] for index in range(len(texts))] == texts
    assert packed.data.dtype == np.uint8
    assert packed.ends.dtype == np.int64


def test_no_texts_are_two_empty_arrays() -> None:
    packed = PackedText.of([])
    assert packed.data.shape == packed.ends.shape == (0,)
    assert not packed
