import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream import validation
from galahstream.errors import OptionError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


@dataclass(frozen=True)
class Limits:
    low: float = validation.checked(validation.number)
    high: float = validation.checked(validation.number)

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise validation.FieldError("high", f"{self.high} is not above {self.low}")


@dataclass(frozen=True)
class Band:
    name: str = validation.checked(partial(validation.text, max_length=8))
    limits: Limits = validation.checked(validation.record(Limits))
    more: tuple[Limits, ...] = validation.checked(
        partial(validation.sequence, check=validation.record(Limits), maximum=3), default=()
    )
    window: Limits | None = validation.checked(
        validation.optional(validation.record(Limits)), default=None
    )


CHECKS: list[Callable[[Any], Any]] = [
    validation.integer,
    validation.number,
    validation.boolean,
    validation.text,
    lambda value: validation.one_of(value, ("float32", "uint16")),
    lambda value: validation.sequence(value, validation.integer, maximum=3),
    lambda value: validation.mapping(value, "a"),
    validation.optional(validation.text),
]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@given(value=ANYTHING)
def test_any_value_is_returned_unchanged_or_rejected(
    check: Callable[[Any], Any], value: Any
) -> None:
    try:
        result = check(value)
        message = ""
    except ValueError as error:
        result, message = value, str(error)
    assert message == "" or (message.startswith("found ") and len(message) < 300)
    assert (list(result) if isinstance(result, tuple) else result) == value or message


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), 10**400, float("nan"), float("inf")],
    ids=["digits", "below", "large", "nan", "inf"],
)
def test_numbers_beyond_all_limits_are_rejected(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        validation.number(value)
    with pytest.raises(ValueError, match="expected an integer"):
        validation.integer(value)


def test_an_integer_that_no_float_holds_is_not_rounded() -> None:
    assert validation.number(2**53) == 2**53
    with pytest.raises(ValueError, match="64 bits of floating point"):
        validation.number(2**53 + 1)


def test_true_is_not_a_number() -> None:
    for check in (validation.integer, validation.number, validation.number_or_nan):
        with pytest.raises(ValueError, match="found True"):
            check(True)


def test_nan_is_accepted_only_where_it_is_allowed() -> None:
    assert np.isnan(validation.number_or_nan(float("nan")))
    assert validation.number_or_nan(3) == 3.0


def test_a_record_is_built_with_nested_and_optional_fields() -> None:
    limits = {"low": 1, "high": 2.5}
    band = validation.from_mapping(Band, {"name": "red", "limits": limits, "more": [limits]})
    assert band == Band("red", Limits(1.0, 2.5), (Limits(1.0, 2.5),), None)
    assert isinstance(band.limits.low, float)
    assert validation.from_mapping(
        Band, {"name": "red", "limits": limits, "window": limits}
    ).window == Limits(1.0, 2.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "field 'name': found 3, expected printable text of at most 8 characters"),
        ({"limits": None}, "field 'limits': found None, expected an object"),
        ({"limits": {"low": 1}}, "field 'limits.high': it is missing"),
        ({"limits": {"low": 3, "high": 2}}, r"field 'limits.high': 2.0 is not above 3.0"),
        ({"more": [{"low": 1, "high": 2}, {"low": "x"}]}, "field 'more.1.low': found 'x'"),
        ({"window": {"low": 1, "high": None}}, "field 'window.high': found None"),
        ({"colour": 1}, "field 'colour': it is not known"),
    ],
)
def test_the_field_that_fails_is_named(changes: dict[str, Any], message: str) -> None:
    value = {"name": "red", "limits": {"low": 1, "high": 2}, **changes}
    with pytest.raises(validation.FieldError, match=message):
        validation.from_mapping(Band, value)


def test_unknown_fields_can_be_ignored() -> None:
    value = {"low": 1, "high": 2, "colour": "red"}
    assert validation.from_mapping(Limits, value, ignore_unknown=True) == Limits(1.0, 2.0)


@pytest.mark.slow
@given(value=ANYTHING)
def test_any_mapping_is_built_or_rejected(value: Any) -> None:
    for candidate in (value, {"low": value, "high": value}, {"name": "a", "limits": value}):
        for cls in (Limits, Band):
            with contextlib.suppress(ValueError):
                assert isinstance(validation.from_mapping(cls, candidate), cls)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None, 10**50])
def test_a_value_that_is_not_a_count_is_rejected_by_name(value: object) -> None:
    with pytest.raises(OptionError, match="chunk_rows"):
        validation.check_count("chunk_rows", value, minimum=1, maximum=100)


def test_a_count_comes_back_as_a_plain_integer() -> None:
    assert validation.check_count("epoch", 0, minimum=0) == 0
    for value in (np.int64(7), np.uint8(7)):
        assert type(validation.check_count("epoch", value, minimum=0)) is int


@pytest.mark.parametrize("value", ["hide", None, 3, ["raise"], np.zeros(2)])
def test_a_value_that_is_not_a_choice_is_rejected_by_name(value: object) -> None:
    with pytest.raises(OptionError, match=r"on_bad .* expected raise or skip"):
        validation.check_choice("on_bad", value, ("raise", "skip"))
