"""Expressions are parsed, never run; positions, precedence and missing values are as documented."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.errors import LabelError, OptionError
from galahstream.survey.expressions import Numbers, Outcome, parse_conditions

TABLE: Mapping[str, npt.NDArray[Any]] = {
    "teff": np.array([3900.0, 4500.0, np.nan, 5772.0, 7000.0]),
    "logg": np.array([1.0, np.nan, 2.0, 4.4, 4.1]),
    "flag_sp": np.array([0, 4, 5, 2, 12]),
    "id": 2**60 + np.arange(5),
}


def read(name: str) -> Numbers:
    if name not in TABLE:
        msg = f"no column {name!r}"
        raise LabelError(msg)
    values = TABLE[name]
    return Numbers(values, ~np.isfinite(values))


def evaluate(text: str) -> Outcome:
    """Return the outcome of all conditions of an expression together."""
    outcomes = [condition.evaluate(read) for condition in parse_conditions(text)]
    return Outcome(
        np.logical_and.reduce([outcome.passes for outcome in outcomes]),
        np.logical_or.reduce([outcome.is_unknown for outcome in outcomes]),
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("teff > 4000", [1, 3, 4]),
        ("4000 < teff < 6500", [1, 3]),
        ("4000 < teff <= 5772 != logg", [3]),
        ("teff > 4000 and logg < 4.2", [4]),
        ("teff > 6000 or logg < 3", [0, 2, 4]),
        ("not teff > 4000", [0]),
        ("not (teff > 4000 or logg > 4)", [0]),
        ("teff != 5772", [0, 1, 4]),
        ("flag_sp & 4 == 0", [0, 3]),
        ("(flag_sp & 4) == 0", [0, 3]),
        ("flag_sp & 1 + 1 == 0", [0, 1, 2, 4]),  # arithmetic comes before &
        ("0 == flag_sp & 12", [0, 3]),
        ("flag_sp & 4 > 0 and flag_sp & 8 == 0", [1, 2]),
        ("teff / 1000 + logg * 2 - 1 > 9", [3, 4]),
        ("-logg > -2", [0]),
        ("+logg >= 2 + -1 * -2.1", [3, 4]),
        ("1 / flag_sp > 0", [1, 2, 3, 4]),  # divided by zero is missing
        ("isfinite(logg)", [0, 2, 3, 4]),
        ("isnan(logg) or isnan(teff)", [1, 2]),
        ("not isfinite(teff + logg)", [1, 2]),
        ("id == 1152921504606846977", [1]),  # which float64 does not hold
        ("id > 1e18", [0, 1, 2, 3, 4]),
        ("teff < 99999999999999999999", [0, 1, 3, 4]),
        ("  teff\n > 4000\tand logg > 4  ", [3, 4]),
    ],
)
def test_an_expression_selects_the_rows_counted_by_hand(text: str, rows: list[int]) -> None:
    assert np.flatnonzero(evaluate(text).passes).tolist() == rows


def test_conditions_joined_by_and_are_separate_and_others_are_one() -> None:
    conditions = parse_conditions("teff > 4000 and (logg < 4 or flag_sp == 0) and not logg > 5")
    assert [condition.text for condition in conditions] == [
        "teff > 4000",
        "logg < 4 or flag_sp == 0",
        "not logg > 5",
    ]
    assert conditions[1].names == ("logg", "flag_sp")
    assert len(parse_conditions("teff > 4000 or logg < 4")) == 1


def test_a_missing_value_is_neither_true_nor_false_and_is_counted() -> None:
    for text in ("teff > 4000", "not teff > 4000", "teff == teff", "teff != teff"):
        outcome = evaluate(text)
        assert outcome.is_unknown.tolist() == [False, False, True, False, False]
        assert not outcome.passes[2]


def test_what_a_missing_value_cannot_change_is_known() -> None:
    (condition,) = parse_conditions("teff > 4000 or logg < 3")
    outcome = condition.evaluate(read)
    assert outcome.passes.tolist() == [True, True, True, True, True]
    assert not outcome.is_unknown.any()
    (condition,) = parse_conditions("not (teff > 4000 and logg > 3)")
    assert condition.evaluate(read).is_unknown.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("teff > 4000 and snr > 3", 17, "no column 'snr'"),
        ("ä > 1 and snr > 3", 1, "no column 'ä'"),
        ("teff > 4000 logg", 13, "expected a condition"),
        ("teff > 4000 &", 14, "expected a condition"),
        ("teff = 4000", 6, "expected a condition"),
        ("teff", 1, "'teff' is not a condition"),
        ("flag_sp & 4", 1, "as in flag_sp & 4 == 0"),
        ("(teff > 4000) & (logg < 4)", 1, "join conditions by 'and'"),
        ("(teff > 4000) | (logg < 4)", 1, "join conditions by 'and' and 'or'"),
        ("teff > 4000 & flag_sp < 4", 8, "& comes before the comparisons"),
        ("flag_sp == 0 & flag_sp == 0", 12, "& comes before the comparisons"),
        ("logg & 4 == 0", 1, "not whole numbers"),
        ("flag_sp & 1e300 == 0", 11, "not whole numbers of 64 bits"),
        ("flag_sp & 9223372036854775808 == 0", 11, "not whole numbers of 64 bits"),
        ("teff * 1e300 & 4 == 0", 1, "not whole numbers of 64 bits"),
        ("(teff > 1) + 1 > 2", 2, "is a condition where a number is expected"),
        ("teff > 'hot'", 8, "'hot' is not a number"),
        ("teff > True", 8, "True is not a number"),
        ("teff > 1j", 8, "1j is not a number"),
        ("teff > 1 and teff < 1" + "0" * 400, 21, "larger than any float64"),
        ("teff < 1e999", 8, "larger than any float64"),
        ("-1e999 < teff", 2, "larger than any float64"),
        ("teff is None", 1, "expected one of <"),
        ("teff in (1, 2)", 1, "expected one of <"),
        ("1 < 2", 1, "names no column"),
        ("teff > 1 and 1 < 2", 14, "names no column"),
        ("teff ** 2 > 1", 1, "cannot be used here"),
        ("teff % 2 > 1", 1, "cannot be used here"),
        ("abs(teff) > 1", 1, "cannot be used here"),
        ("isfinite(teff, logg)", 1, "of one column"),
        ("isfinite(teff > 1)", 10, "where a number is expected"),
        ("open(teff)", 1, "of one column"),
        ("teff.real > 1", 1, "cannot be used here"),
        ("teff[0] > 1", 1, "cannot be used here"),
        ("(lambda: teff)() > 1", 1, "cannot be used here"),
        ("[teff > 1 for teff in (1,)]", 1, "cannot be used here"),
        ("(x := teff) > 1", 2, "cannot be used here"),
        ("__import__('os').system('true') == 0", 1, "cannot be used here"),
        ("teff > 1; logg > 2", 9, "expected a condition"),
        ("teff > 1 AND logg > 2", 10, "expected a condition"),
    ],
)
def test_what_is_not_an_expression_is_refused_with_its_position(
    text: str, position: int, reason: str
) -> None:
    with pytest.raises(OptionError) as caught:
        evaluate(text)
    assert f"where {text!r}, position {position}: " in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "  ", None, 3, "teff > \0 1", "teff > 1" + " " * 2000 + "+ 1"]
)
def test_what_is_no_text_of_an_expression_is_refused(text: Any) -> None:
    with pytest.raises(OptionError, match="where"):
        parse_conditions(text)


@pytest.mark.parametrize(
    "nested", ["(" * 400 + "teff" + ")" * 400 + " > 1", "-" * 990 + "teff > 1"]
)
def test_deep_nesting_is_refused_without_a_crash(nested: str) -> None:
    with pytest.raises(OptionError, match="where"):
        evaluate(nested)


_NUMBERS = st.one_of(
    st.sampled_from(["teff", "logg", "flag_sp"]),
    st.integers(0, 9).map(str),
    st.floats(0, 1e4).map(repr),
)
_SUMS = st.recursive(
    _NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        "({0[0]} {0[1]} {0[2]})".format
    ),
)
_COMPARED = st.tuples(_SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _SUMS).map(
    "{0[0]} {0[1]} {0[2]}".format
)
_CONDITIONS = st.recursive(
    _COMPARED,
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            "({0[0]}) {0[1]} ({0[2]})".format
        ),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(text=_CONDITIONS)
def test_on_known_values_it_means_what_python_means(text: str) -> None:
    complete = {"teff": 5772.0, "logg": 4.4, "flag_sp": 5}
    expected = bool(eval(text, {}, complete))
    if not any(name in text for name in complete):
        return
    try:
        conditions = parse_conditions(text)
    except OptionError:  # a part without a column
        return
    passes = True
    for condition in conditions:
        outcome = condition.evaluate(
            lambda name: Numbers(np.array([complete[name]]), np.zeros(1, dtype=bool))
        )
        passes &= bool(outcome.passes[0])
        assert not outcome.is_unknown[0]
    assert passes == expected


@settings(deadline=None)
@given(text=st.text(alphabet="teflogs_p&|~^<>=!+-*/%().,0123456789 andornt'\"[]{}:@", max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        outcome = evaluate(text)
    except OptionError:
        return
    assert outcome.passes.shape == (5,)
    assert not (outcome.passes & outcome.is_unknown).any()
