"""What is merged: one number per event, whose sum over any set of events, or whose maximum per cell, gives an indicator's
numerator, denominator or sample."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, TypeAlias

import polars as pl

from closedloop.kpi.domain import distinct, quantiles
from closedloop.kpi.domain.aggregates import Distinct, Quantile, Quantity
from closedloop.kpi.domain.expressions import Formula

LARGEST: Final = 1e12
"""A quantity beyond this (30,000 years in seconds) or without end is taken as unknown: one event must not drown all others."""
_REGISTERS: Final = "registers"
_COUNT: Final = "count"
_ONE: Final = "1"
_Parts: TypeAlias = tuple[Formula, Quantity, Quantity | None]
"""Condition, numerator, denominator."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number per event of a topic: `expression` over the topic's frame with its derived columns, Float64, 0 where the event
    does not count, never null. `name` derives from the formulas: the same name is the same sum, and a changed formula begins anew.

    That of a sketch is a struct instead: `cell`, an Int16 that is null where the event does not count, and `number`, a Float64.
    The cells are bins of a quantile (`quantile` says which is asked for) or registers of a distinct number.
    """

    name: str
    topic: str
    columns: frozenset[str] = field(compare=False)
    expression: pl.Expr = field(compare=False, repr=False)
    is_sketch: bool = False
    quantile: float | None = field(default=None, compare=False)

    @property
    def is_count(self) -> bool:
        """Whether it is the number of events that count."""
        return self.name.startswith(f"{_COUNT}_")


def is_maximum(name: str) -> bool:
    """Whether numbers of the measure of this name are merged by their maximum, and not by their sum."""
    return name.startswith(f"{_REGISTERS}_")


def counted(condition: Formula, numerator: Quantity, denominator: Quantity | None) -> Measure:
    """1 for each event that counts: the condition holds, and what its formulas ask for is known."""
    parts = (condition, numerator, denominator)
    return _measure(_COUNT, parts, _ones(_counts(condition, numerator, denominator)))


def merged(what: Quantity, condition: Formula, numerator: Quantity, denominator: Quantity | None) -> Measure:
    """`what`, the numerator or the denominator, of each event that counts."""
    counts = _counts(condition, numerator, denominator)
    parts = (condition, numerator, denominator)
    if isinstance(what, Quantile):
        bins = quantiles.sketched(pl.when(counts).then(_number(what.of)))
        return Measure(_name("bins", parts), condition.topic, _columns(parts), bins, is_sketch=True, quantile=what.q)
    if isinstance(what, Distinct):
        among = counts if what.where is None else counts & what.where.expression
        role = f"{_REGISTERS}_{'denominator' if what == denominator else 'numerator'}"
        registers = distinct.sketched(pl.when(among).then(pl.col(what.of)))
        return Measure(_name(role, parts), condition.topic, _columns(parts), registers, is_sketch=True)
    if what.text.strip() == _ONE:
        return counted(condition, numerator, denominator)
    role = "denominator" if what == denominator else "numerator"
    value = _ones(counts & what.expression) if what.is_truth else pl.when(counts).then(_number(what)).otherwise(0.0)
    return _measure(role, parts, value)


def _ones(which: pl.Expr) -> pl.Expr:
    """1 where it is true, 0 where it is not, or not known."""
    return which.fill_null(False).cast(pl.Float64)


def _number(formula: Formula) -> pl.Expr:
    number = formula.expression.cast(pl.Float64)
    return number if formula.is_truth else pl.when(number.abs() <= LARGEST).then(number)


def _counts(condition: Formula, numerator: Quantity, denominator: Quantity | None) -> pl.Expr:
    counts = condition.expression
    for quantity in (numerator, denominator):
        if quantity is not None and not (isinstance(quantity, Formula) and quantity.text.strip() == _ONE):
            counts = counts & _is_known(quantity)
    return counts


def _is_known(quantity: Quantity) -> pl.Expr:
    if isinstance(quantity, Formula) and quantity.is_truth:
        return quantity.expression.is_not_null()
    if isinstance(quantity, Quantile):
        return _number(quantity.of).is_not_null()
    if isinstance(quantity, Distinct):
        known = pl.col(quantity.of).is_not_null()
        return known if quantity.where is None else known & quantity.where.expression.is_not_null()
    return _number(quantity).is_not_null()


def _measure(role: str, parts: _Parts, expression: pl.Expr) -> Measure:
    return Measure(_name(role, parts), parts[0].topic, _columns(parts), expression)


def _name(role: str, parts: _Parts) -> str:
    texts = [role, parts[0].topic, *("" if part is None else _identity(part) for part in parts)]
    return f"{role}_{blake2b(chr(0).join(texts).encode(), digest_size=6).hexdigest()}"


def _columns(parts: _Parts) -> frozenset[str]:
    return frozenset().union(*(part.columns for part in parts if part is not None))


def _identity(part: Quantity) -> str:
    """A quantity's text; all quantiles of the same quantity come from the same bins."""
    return f"quantile of {part.of.text.strip()}" if isinstance(part, Quantile) else part.text.strip()
