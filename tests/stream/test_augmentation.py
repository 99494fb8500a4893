"""Augmentations as objects and as text."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import galahstream as gs
from galahstream.errors import OptionError
from galahstream.stream.augmentation import Augmentation, check_augmentation

NAMES = {one.__name__: one for one in (gs.AddNoise, gs.ShiftVelocity, gs.MaskPixels, gs.Compose)}
noises = st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)).map(lambda snr: gs.AddNoise(*sorted(snr)))
shifts = st.floats(0, 1000, exclude_min=True).map(gs.ShiftVelocity)
masks = st.floats(0, 1, exclude_min=True, exclude_max=True).map(gs.MaskPixels)
composed = (
    st.tuples(noises | st.none(), shifts | st.none(), masks | st.none())
    .flatmap(st.permutations)
    .map(lambda steps: [step for step in steps if step is not None])
    .filter(lambda steps: len(steps) > 1)
    .map(lambda steps: gs.Compose(*steps))
)


@given(augmentation=noises | shifts | masks | composed)
def test_text_and_object_are_the_same_thing(augmentation: Augmentation) -> None:
    assert check_augmentation(str(augmentation)) == augmentation
    assert eval(repr(augmentation), NAMES) == augmentation
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation
    assert hash(augmentation) == hash(check_augmentation(str(augmentation)))


def test_the_order_does_not_matter_and_groups_are_flat() -> None:
    noise, shift, mask = gs.AddNoise(20, 200), gs.ShiftVelocity(2), gs.MaskPixels(0.02)
    text = "velocity=2,noise=20:200,mask=0.02"
    composed = gs.Compose(noise, shift, mask)
    for other in (gs.Compose(mask, shift, noise), gs.Compose(gs.Compose(mask, noise), shift)):
        assert other == composed
        assert str(other) == text
    assert check_augmentation(" mask=2e-2, noise=20.0:200,velocity=2") == composed
    assert check_augmentation(gs.Compose(noise)) == gs.Compose(noise)
    assert check_augmentation(None) is None


def test_numpy_numbers_become_plain_ones() -> None:
    low, high, fraction = np.array([20, 200, 0.02], dtype=np.float32)
    noise = gs.AddNoise(low, high)
    assert noise == gs.AddNoise(20, 200)
    assert type(noise.snr_low) is type(noise.snr_high) is float
    assert str(gs.MaskPixels(fraction)) == "mask=0.019999999552965164"


@pytest.mark.parametrize(
    "name", ["blur=3", "noise", "Noise=20:200", "noise:20", "", "velocity", "="]
)
def test_an_unknown_augmentation_is_refused_with_those_known(name: str) -> None:
    for text in (name, f"mask=0.1,{name}", f"{name},mask=0.1"):
        with pytest.raises(OptionError, match=r"noise=LOW:HIGH.*velocity=.*mask=.*--augment"):
            check_augmentation(text)


@pytest.mark.parametrize(
    "text",
    [
        "noise=0:200", "noise=-5:5", "noise=200:20", "noise=20:inf", "noise=nan:20", "noise=20",
        "noise=20:30:40", "noise=20:", "noise=0.5:3", "velocity=0", "velocity=-1", "velocity=nan",
        "velocity=1e9", "velocity=fast", "velocity=1:2", "mask=0", "mask=1", "mask=2", "mask=nan",
        "mask=-0.1", "mask=2%", "mask=0.1,mask=0.1", "noise=20:200,mask=0.1,noise=20:30",
    ],
)  # fmt: skip
def test_a_bad_number_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected .*number|expected noise="):
        check_augmentation(text)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (gs.AddNoise, ("20", 200)),
        (gs.AddNoise, (None, 200)),
        (gs.AddNoise, (True, 2)),
        (gs.ShiftVelocity, ("2",)),
        (gs.ShiftVelocity, (10**400,)),
        (gs.MaskPixels, (1 + 0j,)),
        (gs.MaskPixels, ([0.1],)),
        (gs.Compose, ()),
        (gs.Compose, ("mask=0.1",)),
        (gs.Compose, (gs.MaskPixels(0.1), gs.MaskPixels(0.2))),
        (gs.Compose, (gs.Compose(gs.MaskPixels(0.1)), gs.MaskPixels(0.1))),
        (check_augmentation, (0.5,)),
        (check_augmentation, (gs.AddNoise,)),
        (check_augmentation, (b"mask=0.1",)),
        (check_augmentation, ([gs.AddNoise(1, 2)],)),
    ],
)
def test_what_is_no_augmentation_is_refused(make: Any, values: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError, match="cannot be used; expected"):
        make(*values)
