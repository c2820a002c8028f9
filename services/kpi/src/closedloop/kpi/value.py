"""What an indicator was: the answer that every kind of indicator gives."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from closedloop.kpi.domain.report import Amount

Filters = Mapping[str, Sequence[str]]
"""Dimension → the values that count."""
REGION: Final = "region"


class Value(msgspec.Struct, frozen=True, gc=False):
    """An indicator over [start, end), in minutes. `value` is None where nothing is known. A series has thousands: they are nothing
    to the garbage collector, as they refer to none that refers to them."""

    start: int
    end: int
    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    group: Mapping[str, str | None]
    note: str | None = None
    parts: Mapping[str, "Value"] = {}
    """Those of a composite, by their ids."""

    @property
    def amount(self) -> Amount:
        """What is judged of it."""
        return Amount(self.value, self.numerator, self.denominator, self.sample)
