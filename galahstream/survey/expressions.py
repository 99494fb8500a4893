"""Conditions on columns, such as ``teff > 4000 and flag_sp & 4 == 0``: parsed, never run as code.

An expression may hold columns, numbers, the comparisons ``< <= > >= == !=`` (also chained,
as in ``4000 < teff < 6500``), ``and``, ``or``, ``not``, the arithmetic ``+ - * /``, the bit
test ``&`` of whole numbers, and ``isfinite(x)`` and ``isnan(x)``. Precedence is Python's, from
the loosest to the tightest: ``or``, ``and``, ``not``, comparisons, ``&``, ``+ -``, ``* /``, the
sign. So ``flag_sp & 4 == 0`` is ``(flag_sp & 4) == 0``.

A comparison with a missing value is unknown, and so is its negation: only what is known to
be true passes. Every value that is not finite is missing.

Examples
--------
>>> import numpy as np
>>> from galahstream.survey.expressions import Numbers, parse_conditions
>>> teff = np.array([3900.0, np.nan, 5772.0])
>>> (condition,) = parse_conditions("4000 < teff < 6500")
>>> outcome = condition.evaluate(lambda name: Numbers(teff, np.isnan(teff)))
>>> outcome.passes.tolist(), outcome.is_unknown.tolist()
([False, False, True], [False, True, False])
"""

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, OptionError
from galahstream.validation import shown

MAX_LENGTH = 1024
"""Largest number of characters of an expression."""

_Bools: TypeAlias = npt.NDArray[np.bool_]
_COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
}
_FUNCTIONS = ("isfinite", "isnan")
_EXPECTED = "expected a condition such as teff > 4000 and flag_sp & 4 == 0"


class Numbers(NamedTuple):
    """A column: values of a real or integer dtype, and which of them are missing, shape (n,)."""

    values: npt.NDArray[Any]
    is_missing: _Bools


class Outcome(NamedTuple):
    """Which rows meet a condition, and for which it is unknown, both of shape (n,)."""

    passes: _Bools
    is_unknown: _Bools


ReadColumn: TypeAlias = Callable[[str], Numbers]
"""Gives a column by name, or raises `LabelError` saying why it cannot."""


@dataclass(frozen=True)
class Condition:
    """One condition on the columns of a table; made by :func:`parse_conditions`.

    Attributes
    ----------
    text : str
        The condition as it was written.
    names : tuple of str
        The columns that it needs.
    """

    text: str
    names: tuple[str, ...]
    _expression: "_Expression"
    _node: ast.expr

    def evaluate(self, read: ReadColumn) -> Outcome:
        """Return which rows of a table meet the condition.

        Raises
        ------
        OptionError
            If a column cannot be read, or is used in a way that its values do not allow.
        """
        try:
            with np.errstate(all="ignore"):
                return self._expression.truth(self._node, read)
        except RecursionError as error:
            msg = f"where {shown(self.text)} is nested too deeply; write it shorter"
            raise OptionError(msg) from error


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Return the conditions that ``and`` joins in an expression, in their order.

    Raises
    ------
    OptionError
        If the text is not such an expression; the position counts characters from 1.
    """
    if not isinstance(text, str) or not text.strip():
        msg = f"where {shown(text)} is not an expression; {_EXPECTED}"
        raise OptionError(msg)
    expression = _Expression(re.sub(r"[\t\n\r\f\v]", " ", text).strip())
    node = expression.parse()
    joined = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And)
    parts = node.values if isinstance(node, ast.BoolOp) and joined else [node]
    return tuple(expression.condition(part) for part in parts)


@dataclass(frozen=True)
class _Expression:
    """The text of an expression, and what its nodes are allowed to be and evaluate to."""

    text: str

    def parse(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH or not self.text.isprintable():
            msg = f"where {shown(self.text)}: expected at most {MAX_LENGTH} printable characters"
            raise OptionError(msg)
        try:
            with warnings.catch_warnings(action="ignore"):  # of literals such as 3and
                node = ast.parse(self.text, mode="eval").body
            self._check_condition(node)
        except SyntaxError as error:
            end = len(self.text) + 1  # for which Python may have 0
            self._fail(min(error.offset or end, end), f"{_EXPECTED} ({error.msg})")
        except (ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, OptionError):
                raise
            msg = f"where {shown(self.text)} cannot be read ({error}); {_EXPECTED}"
            raise OptionError(msg) from error
        return node

    def condition(self, node: ast.expr) -> Condition:
        functions = {id(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
        names = dict.fromkeys(
            part.id
            for part in ast.walk(node)
            if isinstance(part, ast.Name) and id(part) not in functions
        )
        if not names:
            self._fail(node, f"{self._segment(node)!r} names no column; {_EXPECTED}")
        return Condition(self._segment(node), tuple(names), self, node)

    def _check_condition(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check_condition(part)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._check_condition(operand)
            case ast.Compare(left=left, ops=operators, comparators=others):
                self._check_comparison(node, operators, [left, *others])
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if (
                name in _FUNCTIONS
            ):
                self._check_number(argument)
            case ast.Call():
                self._fail(node, f"expected {' or '.join(_FUNCTIONS)} of one column as a call")
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                self._fail(
                    node,
                    f"{self._segment(node)!r} is not a condition; join conditions by 'and' and "
                    f"'or', and compare bits with a number, as in flag_sp & 4 == 0",
                )
            case _:
                self._check_number(node)
                self._fail(node, f"{self._segment(node)!r} is not a condition; {_EXPECTED}")

    def _check_comparison(
        self, node: ast.expr, operators: list[ast.cmpop], operands: list[ast.expr]
    ) -> None:
        if any(type(operator) not in _COMPARISONS for operator in operators):
            self._fail(node, "expected one of < <= > >= == != as a comparison")
        for operand in operands:
            # Meant as (a > 1) & (b < 2), and read as a > (1 & b) < 2.
            if len(operators) > 1 and _is_bit_test(operand):
                self._fail(operand, "join conditions by 'and': & comes before the comparisons")
            self._check_number(operand)

    def _check_number(self, node: ast.expr) -> None:
        match node:
            case ast.Name():
                pass
            case ast.Constant(value=value) if type(value) in (int, float):
                pass
            case ast.Constant(value=value):
                self._fail(node, f"{shown(value)} is not a number, and only numbers are compared")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                self._check_number(operand)
            case ast.BinOp(left=left, op=operator, right=right) if type(
                operator
            ) in _ARITHMETIC or isinstance(operator, ast.BitAnd):
                self._check_number(left)
                self._check_number(right)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                self._fail(
                    node,
                    f"{self._segment(node)!r} is a condition where a number is expected; join "
                    f"conditions by 'and' and 'or'",
                )
            case _:
                self._fail(
                    node,
                    f"{shown(self._segment(node))} cannot be used here; expected a column, a "
                    f"number, or + - * / & of them",
                )

    def truth(self, node: ast.expr, read: ReadColumn) -> Outcome:
        """Return the truth of a condition, by the rules of Kleene's three-valued logic."""
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return reduce(_both, [self.truth(part, read) for part in parts])
            case ast.BoolOp(values=parts):
                negated = [_negated(self.truth(part, read)) for part in parts]
                return _negated(reduce(_both, negated))
            case ast.UnaryOp(operand=operand):
                return _negated(self.truth(operand, read))
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                is_missing = self._numbers(argument, read).is_missing
                passes = is_missing if name == "isnan" else ~is_missing
                return Outcome(passes, np.zeros_like(is_missing))
            case ast.Compare(left=left, ops=operators, comparators=others):
                operands = [self._numbers(part, read) for part in (left, *others)]
                return reduce(_both, map(_compared, operators, operands, operands[1:]))
            case _:  # not reached: the expression was checked
                raise AssertionError(ast.dump(node))

    def _numbers(self, node: ast.expr, read: ReadColumn) -> Numbers:
        match node:
            case ast.Name(id=name):
                try:
                    return read(name)
                except LabelError as error:
                    self._fail(node, str(error))
            case ast.Constant(value=value):
                return _finite(np.asarray(self._number(node, value)), np.False_)
            case ast.UnaryOp(op=operator, operand=operand):
                values, is_missing = self._numbers(operand, read)
                return Numbers(-values if isinstance(operator, ast.USub) else values, is_missing)
            case ast.BinOp(left=left, op=operator, right=right):
                one, other = self._numbers(left, read), self._numbers(right, read)
                is_missing = one.is_missing | other.is_missing
                if isinstance(operator, ast.BitAnd):
                    return Numbers(self._whole(left, one) & self._whole(right, other), is_missing)
                function = _ARITHMETIC[type(operator)]
                floats = (np.asarray(part.values, dtype=np.float64) for part in (one, other))
                return _finite(np.asarray(function(*floats)), is_missing)
            case _:  # not reached: the expression was checked
                raise AssertionError(ast.dump(node))

    def _number(self, node: ast.expr, value: object) -> int | float:
        """Return a number of the expression, finite and such that NumPy has a dtype for it."""
        assert isinstance(value, int | float)  # as it was checked
        try:
            # An integer that int64 does not hold would become an object.
            number = value if -(2**63) <= value < 2**63 and isinstance(value, int) else float(value)
        except OverflowError:
            number = np.inf
        if not np.isfinite(number):
            self._fail(node, f"{shown(self._segment(node))} is larger than any float64")
        return number

    def _whole(self, node: ast.expr, numbers: Numbers) -> npt.NDArray[np.int64]:
        """Return the values of a bit test as integers; 0 where they are missing."""
        known = np.where(numbers.is_missing, 0, numbers.values)
        # A value that int64 does not hold would become another one.
        is_whole = (known == np.floor(known)) & (np.abs(known) < 2.0**63)
        if known.dtype.kind == "f" and not is_whole.all():
            self._fail(
                node,
                f"{self._segment(node)!r} has values that are not whole numbers of 64 bits, whose "
                f"bits & cannot test; join conditions by 'and'",
            )
        return known.astype(np.int64)

    def _segment(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.text, node) or ""

    def _fail(self, where: ast.expr | int, reason: str) -> NoReturn:
        if isinstance(where, int):
            position = where
        else:  # Python counts the bytes before it
            position = len(self.text.encode()[: where.col_offset].decode()) + 1
        msg = f"where {self.text!r}, position {position}: {reason}"
        raise OptionError(msg)


def _is_bit_test(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd)


def _finite(values: npt.NDArray[Any], is_missing: Any) -> Numbers:
    return Numbers(values, np.asarray(is_missing | ~np.isfinite(values)))


def _compared(operator: ast.cmpop, one: Numbers, other: Numbers) -> Outcome:
    is_unknown = np.asarray(one.is_missing | other.is_missing)
    result = _COMPARISONS[type(operator)](one.values, other.values)
    return Outcome(np.asarray(result & ~is_unknown), is_unknown)


def _negated(outcome: Outcome) -> Outcome:
    return Outcome(~outcome.passes & ~outcome.is_unknown, outcome.is_unknown)


def _both(one: Outcome, other: Outcome) -> Outcome:
    passes = one.passes & other.passes
    is_false = _negated(one).passes | _negated(other).passes
    return Outcome(passes, ~passes & ~is_false)
