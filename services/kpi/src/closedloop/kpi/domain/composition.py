"""Arithmetic over other indicators, such as `10000 * complaints_registered / customers`.

It is computed from the parts' values over the same window, for the same regions and groups. Unknown stays unknown: where a part has
no value, or the divisor is 0, the composite has none.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from closedloop.kpi.domain.expressions import MAX_CHARS, FormulaRefused

FUNCTIONS: Final = frozenset({"abs", "coalesce", "greatest", "least"})
MOST_PARTS: Final = 20
_TOKEN: Final = re.compile(r"\s+|(?P<number>\d+(?:\.\d+)?)|(?P<word>[a-z][a-z0-9_]*)|(?P<sign>[+*/(),]|-(?!-))")


@dataclass(frozen=True, slots=True)
class Composition:
    """A checked composition; `parts` are the ids it names, in order. Equal where the text is."""

    text: str
    parts: tuple[str, ...] = field(compare=False)
    expression: pl.Expr = field(compare=False, repr=False)

    def values(self, parts: Mapping[str, Sequence[float | None]]) -> list[float | None]:
        """The composite at each place from its parts' values there."""
        frame = pl.DataFrame({part: parts[part] for part in self.parts}, schema=dict.fromkeys(self.parts, pl.Float64))
        result = frame.select(result=self.expression.cast(pl.Float64))["result"]
        return [value if value is not None and math.isfinite(value) else None for value in result]


def composition(text: str) -> Composition:
    """The composition that a text says; whether its parts exist is for the catalogue to say. Raises FormulaRefused."""
    if len(text) > MAX_CHARS:
        raise FormulaRefused(f"is {len(text)} characters long; the limit is {MAX_CHARS}")
    parts: dict[str, None] = {}
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaRefused(
                f"`{text[at : at + 12]}` is not part of a composite; it has ids, numbers, + - * / ( ) and {_LISTED}"
            )
        at = match.end()
        if match.lastgroup == "word":
            is_called = text[at:].lstrip().startswith("(")
            if is_called and match[0] not in FUNCTIONS:
                raise FormulaRefused(f"unknown function `{match[0]}` (there are {_LISTED})")
            if not is_called:
                parts[match[0]] = None
    if not 1 <= len(parts) <= MOST_PARTS:
        raise FormulaRefused(f"must name 1 to {MOST_PARTS} indicators by their ids, and names {len(parts)}")
    try:
        expression = pl.sql_expr(text)
        dtype = pl.LazyFrame(schema=dict.fromkeys(parts, pl.Float64)).select(result=expression).collect_schema()["result"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        problem = (str(error).splitlines() or ["cannot be computed"])[0]
        raise FormulaRefused(f"cannot be understood: {problem}") from None
    if not dtype.is_numeric():
        raise FormulaRefused(f"must be a number, and `{text}` is not")
    return Composition(text, tuple(parts), expression)


_LISTED: Final = ", ".join(sorted(FUNCTIONS))
