"""The indicator catalogue: what is measured, from which events, by what formula, for whom.

An indicator adds up, over the events of one topic that pass its `filter`, a numerator and (for a ratio or a mean) a denominator:

    count   numerator: 1
    sum     numerator: duration_s
    ratio   numerator: status = 'failed'        denominator: 1
    mean    numerator: duration_s               denominator: 1

An event counts only where all that its formula asks for is known: one without `duration_s` is not in the mean's denominator either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from closedloop.kpi.domain.columns import DIMENSIONS
from closedloop.kpi.domain.expressions import Formula
from closedloop.kpi.domain.measures import Measure, counted, summed

Phase = Literal["ex_ante", "in_process", "ex_post"]
IndicatorClass = Literal["operating", "complaint", "perception"]
Better = Literal["higher", "lower"]

THRESHOLD_WINDOWS: Final = {"5m": 5, "1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60, "30d": 30 * 24 * 60}
"""Windows over which a threshold may look, in minutes. They slide, so the operator's time zone plays no part in them."""

UNIT_FACTORS: Final = {"percent": 100.0}
"""What a ratio is multiplied with to stand in its unit; 1 for all others."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Breached while the value over `window` is worse than `critical`, from `minimum_sample` events on, per group of `by`."""

    window: str
    critical: float
    minimum_sample: int
    by: tuple[str, ...] = ()

    @property
    def window_minutes(self) -> int:
        """The window's length."""
        return THRESHOLD_WINDOWS[self.window]


@dataclass(frozen=True)
class Indicator:
    """One entry of the catalogue, checked. `place` is where it was written, such as `orders.yaml:12`."""

    id: str
    name_en: str
    name_zh: str
    phase: Phase
    indicator_class: IndicatorClass
    unit: str
    better: Better
    owner: str
    topic: str
    filter: Formula
    numerator: Formula
    denominator: Formula | None
    dimensions: tuple[str, ...]
    process: str | None = None
    product: str | None = None
    target: float | None = None
    threshold: Threshold | None = None
    formula: str | None = None
    note: str | None = None
    place: str = ""

    @cached_property
    def sample_measure(self) -> Measure:
        """How many events stand in the value (in its denominator, where it has one)."""
        return counted(self.filter, self.numerator, self.denominator)

    @cached_property
    def numerator_measure(self) -> Measure:
        """The numerator's sum."""
        return summed(self.numerator, self.filter, self.numerator, self.denominator)

    @cached_property
    def denominator_measure(self) -> Measure | None:
        """The denominator's sum; None for a count or a sum."""
        return None if self.denominator is None else summed(self.denominator, self.filter, self.numerator, self.denominator)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What must be added up for this indicator, each once."""
        wanted = (self.numerator_measure, self.denominator_measure, self.sample_measure)
        return tuple(dict.fromkeys(measure for measure in wanted if measure is not None))

    @property
    def factor(self) -> float:
        """What the ratio is multiplied with to stand in the indicator's unit."""
        return 1.0 if self.denominator is None else UNIT_FACTORS.get(self.unit, 1.0)

    def value(self, numerator: float, denominator: float | None) -> float | None:
        """The value in the indicator's unit, from the sums. None where the denominator is 0: nothing happened, nothing is known."""
        if self.denominator is None:
            return numerator
        return numerator * self.factor / denominator if denominator else None


class Catalogue:
    """All indicators, in the order of their files. Ids are unique."""

    def __init__(self, indicators: Iterable[Indicator]) -> None:
        self.indicators: Final = tuple(indicators)
        self._by_id = {indicator.id: indicator for indicator in self.indicators}

    def get(self, indicator_id: str) -> Indicator | None:
        """The indicator of this id, or None."""
        return self._by_id.get(indicator_id)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """The topics that the indicators read."""
        return tuple(dict.fromkeys(indicator.topic for indicator in self.indicators))

    def on(self, topic: str) -> tuple[Indicator, ...]:
        """The indicators of one topic."""
        return tuple(indicator for indicator in self.indicators if indicator.topic == topic)

    def measures(self, topic: str) -> tuple[Measure, ...]:
        """What must be added up over the topic's frame, each once: indicators with the same formula share theirs."""
        return tuple(dict.fromkeys(measure for indicator in self.on(topic) for measure in indicator.measures))

    def dimensions(self, topic: str) -> tuple[str, ...]:
        """The dimensions by which the topic's indicators are told apart, in the order of `DIMENSIONS`."""
        used = {name for indicator in self.on(topic) for name in indicator.dimensions}
        return tuple(name for name in DIMENSIONS[topic] if name in used)

    def columns(self, topic: str) -> frozenset[str]:
        """The columns of the topic's frame that measures and dimensions look at, derived ones among them."""
        looked_at = {column for measure in self.measures(topic) for column in measure.columns}
        return frozenset(looked_at | set(self.dimensions(topic)))
