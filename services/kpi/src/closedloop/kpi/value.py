"""What an indicator was: the answer that every kind of indicator gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

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
