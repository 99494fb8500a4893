from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream import validation

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)
CHECKS: list[Callable[[Any], Any]] = [
    validation.integer,
    validation.number,
    validation.text,
    lambda value: validation.one_of(value, "float32", "uint16"),
    lambda value: validation.sequence(value, validation.integer, maximum=3),
    lambda value: validation.mapping(value, "a"),
    validation.optional(validation.text),
]


@pytest.mark.parametrize("check", CHECKS)
@given(value=ANYTHING)
def test_anything_is_returned_as_it_is_or_refused(check: Callable[[Any], Any], value: Any) -> None:
    try:
        found = check(value)
    except ValueError as error:
        message = str(error)
    else:
        message = "found as it is" if _plain(found) == value else "changed"
    assert message.startswith("found ")
    assert len(message) < 300


def _plain(found: Any) -> Any:
    return list(found) if isinstance(found, tuple) else found


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), 10**400, float("nan"), float("inf")],
    ids=["digits", "below", "large", "nan", "inf"],
)
def test_numbers_beyond_all_limits_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        validation.number(value)
    with pytest.raises(ValueError, match="expected an integer"):
        validation.integer(value)


def test_true_is_no_number() -> None:
    for check in (validation.integer, validation.number):
        with pytest.raises(ValueError, match="found True"):
            check(True)
