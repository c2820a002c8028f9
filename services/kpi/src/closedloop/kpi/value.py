"""What an indicator was: the answer that every kind of indicator gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from closedloop.kpi.domain.report import Amount

Filters = Mapping[str, Sequence[str]]
"""Dimension → the values that count."""
REGION: Final = "region"


@dataclass(frozen=True)
class Value:
    """An indicator over [start, end), in minutes. `value` is None where nothing is known."""

    start: int
    end: int
    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    group: Mapping[str, str | None]
    note: str | None = None
    parts: Mapping[str, "Value"] = field(default_factory=dict)
    """Those of a composite, by their ids."""

    @property
    def amount(self) -> Amount:
        """What is judged of it."""
        return Amount(self.value, self.numerator, self.denominator, self.sample)
