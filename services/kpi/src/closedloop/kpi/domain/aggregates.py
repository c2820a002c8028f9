"""What a catalogue entry may ask for beside sums: how many different ones, and a quantile.

    numerator: {distinct: customer_id, where: "severity <= 2"}
    numerator: {quantile: 0.95, of: duration_s}

Both come from sketches that merge, with a stated error: see `distinct` and `quantiles`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import polars as pl

from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.entry_reader import EntryReader, Wrong, number, one_of, shown
from closedloop.kpi.domain.expressions import Formula, FormulaRefused, Kind, formula

QUANTILES: Final = (0.001, 0.999)


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different values the column `of` has among the events for which `where` holds."""

    topic: str
    of: str
    where: Formula | None = None

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"distinct {self.of}" + (f" where {self.where.text}" if self.where is not None else "")

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it looks at."""
        return frozenset({self.of}) | (self.where.columns if self.where is not None else frozenset())


@dataclass(frozen=True, slots=True)
class Quantile:
    """The quantity `of`, so that the share `q` of the events is not above it."""

    topic: str
    q: float
    of: Formula

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"quantile {self.q:g} of {self.of.text}"

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it looks at."""
        return self.of.columns


Quantity: TypeAlias = Formula | Distinct | Quantile
"""What may stand as numerator; and, but for a quantile, as denominator."""


def quantity_of(topic: str | None, plain: Callable[[object], Formula | None]) -> Callable[[object], Quantity | None]:
    """Reads a numerator or denominator; what is no mapping is read by `plain`. None where the topic is not known. Raises Wrong."""

    def read(value: object) -> Quantity | None:
        if not isinstance(value, Mapping):
            return plain(value)
        if topic is None:
            return None
        problems: list[str] = []
        inner = EntryReader(value, "", problems)
        found: Quantity | None = None
        if inner.has("quantile"):
            inner.check_keys(("quantile", "of"), ())
            q = inner.take("quantile", _share)
            of = inner.take("of", _formula(topic, "quantity"))
            found = Quantile(topic, q, of) if q is not None and of is not None else None
        elif inner.has("distinct"):
            inner.check_keys(("distinct",), ("where",))
            column = inner.take("distinct", one_of(tuple(name for name, kind in SCHEMA[topic].items() if kind == pl.String)))
            where = inner.take("where", _formula(topic, "condition"))
            found = Distinct(topic, column, where) if column is not None else None
        else:
            raise Wrong(f"must be a formula, or a mapping with `distinct` or `quantile`, not {shown(value)}")
        if problems:
            raise Wrong("; ".join(problem.removeprefix(": ") for problem in problems))
        return found

    return read


def check(reader: EntryReader, numerator: Quantity | None, denominator: Quantity | None) -> None:
    """Complain where the two do not go together, or something is asked of a sketch that it cannot tell."""
    if isinstance(denominator, Quantile):
        reader.complain("denominator", "a quantile is no denominator; it stands alone as `numerator`")
    if isinstance(numerator, Quantile) and reader.has("denominator"):
        reader.complain("denominator", "a quantile has none; leave it out")
    if not isinstance(numerator, Formula | None) or not isinstance(denominator, Formula | None):
        for field in ("threshold", "control"):
            if reader.has(field):
                way_out = "put it on a share instead, such as the share of events above a limit"
                reader.complain(field, f"distinct numbers and quantiles are estimates and are not judged; {way_out}")


def _share(value: object) -> float:
    found = number(value)
    if not QUANTILES[0] <= found <= QUANTILES[1]:
        raise Wrong(f"must be a share from {QUANTILES[0]:g} to {QUANTILES[1]:g}, such as 0.95, not {shown(value)}")
    return found


def _formula(topic: str, kind: Kind) -> Callable[[object], Formula]:
    def read(value: object) -> Formula:
        written = str(value) if isinstance(value, int | float) else value
        if not isinstance(written, str):
            raise Wrong(f"must be a formula, not {shown(value)}")
        try:
            return formula(written, topic, kind)
        except FormulaRefused as refused:
            raise Wrong(str(refused)) from None

    return read
