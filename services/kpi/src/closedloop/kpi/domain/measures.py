"""What is added up: one number per event, whose sums over any set of events are an indicator's numerator, denominator or sample."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import polars as pl

from closedloop.kpi.domain.expressions import Formula

LARGEST: Final = 1e12
"""A quantity beyond this (30,000 years in seconds) or without end is taken as unknown: one event must not drown all others."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number per event of a topic: `expression` over the topic's frame with its derived columns, Float64, 0 where the event
    does not count, never null. `name` derives from the formulas: the same name is the same sum, and a changed formula begins anew.
    """

    name: str
    topic: str
    columns: frozenset[str] = field(compare=False)
    expression: pl.Expr = field(compare=False, repr=False)


def counted(condition: Formula, numerator: Formula, denominator: Formula | None) -> Measure:
    """1 for each event that counts: the condition holds, and what its formulas ask for is known."""
    return _measure("count", (condition, numerator, denominator), pl.lit(1.0), _counts(condition, numerator, denominator))


def summed(what: Formula, condition: Formula, numerator: Formula, denominator: Formula | None) -> Measure:
    """`what`, the numerator or the denominator, of each event that counts."""
    if what.text.strip() == "1":
        return counted(condition, numerator, denominator)
    role = "denominator" if what == denominator else "numerator"
    return _measure(role, (condition, numerator, denominator), _quantity(what), _counts(condition, numerator, denominator))


def _quantity(formula: Formula) -> pl.Expr:
    number = formula.expression.cast(pl.Float64)
    return pl.when(number.abs() <= LARGEST).then(number)


def _counts(condition: Formula, numerator: Formula, denominator: Formula | None) -> pl.Expr:
    counts = condition.expression & _is_known(numerator)
    return counts if denominator is None else counts & _is_known(denominator)


def _is_known(formula: Formula) -> pl.Expr:
    return _quantity(formula).is_not_null()


def _measure(role: str, formulas: tuple[Formula, Formula, Formula | None], value: pl.Expr, counts: pl.Expr) -> Measure:
    topic = formulas[0].topic
    texts = [role, topic, *(f.text.strip() if f is not None else "" for f in formulas)]
    digest = blake2b("\0".join(texts).encode(), digest_size=6).hexdigest()
    columns = frozenset().union(*(f.columns for f in formulas if f is not None))
    expression = pl.when(counts).then(value).otherwise(0.0)
    return Measure(f"{role}_{digest}", topic, columns, expression)
