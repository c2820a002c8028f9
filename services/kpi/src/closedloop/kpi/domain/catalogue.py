"""The indicator catalogue: what is measured, from what, by what formula, for whom, and when it is bad.

An indicator is got in one of three ways:

- from the events of one topic as they come (`EventIndicator`): over those that pass its `filter` it adds up a numerator and, for a
  ratio or a mean, a denominator

      count   numerator: 1
      sum     numerator: duration_s
      ratio   numerator: status = 'failed'        denominator: 1
      mean    numerator: duration_s               denominator: 1
      distinct, quantile                          see `aggregates`

  An event counts only where all that its formula asks for is known: one without `duration_s` is not in the mean's denominator
  either.
- reported for a period by an extract, a test, a survey or a third party (`ReportedIndicator`)
- composed of other indicators (`CompositeIndicator`)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final, Literal

import polars as pl

from closedloop.kpi.domain.aggregates import Quantity
from closedloop.kpi.domain.columns import DIMENSIONS
from closedloop.kpi.domain.composition import Composition
from closedloop.kpi.domain.expressions import Formula, suggestion
from closedloop.kpi.domain.measures import Measure, counted, merged
from closedloop.kpi.domain.thresholds import Control, Threshold

Phase = Literal["ex_ante", "in_process", "ex_post"]
IndicatorClass = Literal["operating", "complaint", "perception"]
Better = Literal["higher", "lower"]
Collection = Literal["events", "system_extract", "mystery_customer", "third_party", "survey", "derived"]
"""How the figures are got. `derived`: from other indicators."""
Granularity = Literal["minute", "day", "month", "quarter", "year"]
"""The finest period for which there is a value of its own."""

UNIT_FACTORS: Final = {"percent": 100.0}
"""What a ratio is multiplied with to stand in its unit; 1 for all others."""


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """What every entry of the catalogue says, checked. `place` is where it was written, such as `orders.yaml:12`."""

    id: str
    name_en: str
    name_zh: str
    phase: Phase
    indicator_class: IndicatorClass
    unit: str
    better: Better
    owner: str
    dimensions: tuple[str, ...]
    collection: Collection
    granularity: Granularity
    process: str | None = None
    product: str | None = None
    factor: str | None = None
    """The quality factor within its process, such as `usability`."""
    target: float | None = None
    """What a month should reach."""
    warning: float | None = None
    """A month that is worse than this is a warning."""
    critical: float | None = None
    """A month that is worse than this is critical."""
    minimum_sample: int | None = None
    """A period of which less is known is not judged: events or, of a reported ratio, its denominator. None: the usual."""
    export: tuple[str, ...] = ()
    """The dimensions by which it is told apart in Prometheus."""
    formula: str | None = None
    note: str | None = None
    version: int = 1
    valid_from: date | None = None
    """The first day, on the operator's calendar, for which this version's values are meant; None: from ever."""
    place: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of those whose figures stand in it: its own, or a composite's parts."""
        return (self.id,)

    @property
    def is_judged_by_period(self) -> bool:
        """Whether its levels of a period are what it is judged by."""
        return self.warning is not None or self.critical is not None

    @property
    def is_judged(self) -> bool:
        """Whether anything is said of how it stands."""
        return self.is_judged_by_period

    @property
    def factor_of_unit(self) -> float:
        """What the ratio is multiplied with to stand in the indicator's unit."""
        return 1.0

    def value(self, numerator: float, denominator: float | None) -> float | None:
        """The value in the indicator's unit, from the sums. None where the denominator is 0: nothing happened, nothing is known."""
        if denominator is None:
            return numerator
        return numerator * UNIT_FACTORS.get(self.unit, 1.0) / denominator if denominator else None

    def values(self, numerators: pl.Series, denominators: pl.Series | None) -> list[float | None]:
        """As `value`, of many; of an unknown numerator unknown."""
        if denominators is not None:
            numerators = (numerators * UNIT_FACTORS.get(self.unit, 1.0) / denominators).set(denominators == 0, None)
        values: list[float | None] = numerators.to_list()
        return values


@dataclass(frozen=True, kw_only=True)
class EventIndicator(Indicator):
    """Computed from the events of one topic."""

    topic: str
    filter: Formula
    numerator: Quantity
    denominator: Quantity | None = None
    threshold: Threshold | None = None
    control: Control | None = None
    parent: str | None = None
    """An indicator on the same topic: while a series of it stands breached, none of this one's in the same groups begins to."""

    @property
    def is_judged_by_period(self) -> bool:
        """Whether its levels of a period are what it is judged by, as no threshold or chart judges its events as they come."""
        return super().is_judged_by_period and self.threshold is None and self.control is None

    @property
    def is_judged(self) -> bool:
        """Whether anything is said of how it stands."""
        return self.is_judged_by_period or self.threshold is not None or self.control is not None

    @cached_property
    def sample_measure(self) -> Measure:
        """How many events stand in the value (in its denominator, where it has one)."""
        return counted(self.filter, self.numerator, self.denominator)

    @cached_property
    def numerator_measure(self) -> Measure:
        """The numerator's sum or sketch."""
        return merged(self.numerator, self.filter, self.numerator, self.denominator)

    @cached_property
    def denominator_measure(self) -> Measure | None:
        """The denominator's sum or sketch; None for a count or a sum."""
        return None if self.denominator is None else merged(self.denominator, self.filter, self.numerator, self.denominator)

    @cached_property
    def parts(self) -> Mapping[str, Measure]:
        """What its numerator, its denominator (absent for counts and sums) and its sample come from."""
        parts = {"numerator": self.numerator_measure, "denominator": self.denominator_measure, "sample": self.sample_measure}
        return {name: measure for name, measure in parts.items() if measure is not None}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What must be merged for this indicator, each once."""
        return tuple(dict.fromkeys(self.parts.values()))

    @property
    def counted_columns(self) -> frozenset[tuple[str, str]]:
        """(topic, column) of all that it needs."""
        return frozenset((self.topic, name) for name in (*self.dimensions, *(measure.name for measure in self.measures)))

    @property
    def factor_of_unit(self) -> float:
        """What the ratio is multiplied with to stand in the indicator's unit."""
        return 1.0 if self.denominator is None else UNIT_FACTORS.get(self.unit, 1.0)


@dataclass(frozen=True, kw_only=True)
class ReportedIndicator(Indicator):
    """Reported for a period: a numerator and a denominator; a numerator alone, which is a count or a sum; or the value as it was
    measured. The texts say what each is."""

    reported_by: str
    """The system, test or third party that it comes from."""
    numerator: str | None = None
    denominator: str | None = None
    is_level: bool = False
    """Whether it is a level, such as a number of customers: over a time it is the last one known, and is not added up."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fields in which a report says its figures."""
        if self.numerator is None:
            return ("value",)
        return ("numerator",) if self.denominator is None else ("numerator", "denominator")

    @property
    def has_parts(self) -> bool:
        """Whether it is a ratio, whose numerator and denominator are reported."""
        return self.denominator is not None


@dataclass(frozen=True, kw_only=True)
class CompositeIndicator(Indicator):
    """Computed from other indicators."""

    composite: Composition

    @property
    def sources(self) -> tuple[str, ...]:
        """Its parts."""
        return self.composite.parts


class CatalogueProblem(ValueError):
    """Entries that do not fit together; each of `problems` is a sentence."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Catalogue:
    """All indicators, in the order of their files. Ids are unique. `beside`: what is counted with them although it is not in
    force, such as yesterday's formulas for what comes late. Raises CatalogueProblem where one names another that is not there, or
    that does not fit."""

    def __init__(self, indicators: Iterable[Indicator], beside: Iterable[EventIndicator] = ()) -> None:
        self.indicators: Final = tuple(indicators)
        self._beside: Final = tuple(beside)
        self._by_id = {indicator.id: indicator for indicator in self.indicators}
        problems = [problem for indicator in self.indicators for problem in _unfitting(indicator, self._by_id)]
        if problems:
            raise CatalogueProblem(problems)

    def get(self, indicator_id: str) -> Indicator | None:
        """The indicator of this id, or None."""
        return self._by_id.get(indicator_id)

    def counted(self, indicator_id: str) -> EventIndicator | None:
        """The indicator of this id where it is computed from events, or None."""
        indicator = self._by_id.get(indicator_id)
        return indicator if isinstance(indicator, EventIndicator) else None

    @cached_property
    def from_events(self) -> tuple[EventIndicator, ...]:
        """Those that events are counted for."""
        return tuple(indicator for indicator in self.indicators if isinstance(indicator, EventIndicator))

    @cached_property
    def by_period(self) -> tuple[Indicator, ...]:
        """Those that are judged by their levels of a period."""
        return tuple(indicator for indicator in self.indicators if indicator.is_judged_by_period)

    def topics_of(self, indicator: Indicator) -> frozenset[str]:
        """The topics whose events stand in it or in its parts; none of what is reported."""
        return frozenset(one.topic for id_ in indicator.sources if (one := self.counted(id_)) is not None)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """The topics that the indicators read."""
        return tuple(dict.fromkeys(indicator.topic for indicator in self.from_events))

    def on(self, topic: str) -> tuple[EventIndicator, ...]:
        """The indicators of one topic."""
        return tuple(indicator for indicator in self.from_events if indicator.topic == topic)

    def _counted_on(self, topic: str) -> tuple[EventIndicator, ...]:
        return (*self.on(topic), *(indicator for indicator in self._beside if indicator.topic == topic))

    def measures(self, topic: str) -> tuple[Measure, ...]:
        """What must be added up over the topic's frame, each once: indicators with the same formula share theirs."""
        return tuple(dict.fromkeys(measure for indicator in self._counted_on(topic) for measure in indicator.measures))

    def dimensions(self, topic: str) -> tuple[str, ...]:
        """The dimensions by which the topic's indicators are told apart, in the order of `DIMENSIONS`."""
        used = {name for indicator in self._counted_on(topic) for name in indicator.dimensions}
        return tuple(name for name in DIMENSIONS[topic] if name in used)

    @cached_property
    def counted_columns(self) -> frozenset[tuple[str, str]]:
        """(topic, column) of all that is added up, and of the dimensions by which it is told apart."""
        return frozenset(
            (topic, name) for topic in self.topics for name in (*self.dimensions(topic), *(m.name for m in self.measures(topic)))
        )

    def columns(self, topic: str) -> frozenset[str]:
        """The columns of the topic's frame that measures and dimensions look at, derived ones among them."""
        looked_at = {column for measure in self.measures(topic) for column in measure.columns}
        return frozenset(looked_at | set(self.dimensions(topic)))


def _unfitting(indicator: Indicator, known: Mapping[str, Indicator]) -> list[str]:
    where = f"{indicator.place}: {indicator.id}"
    if isinstance(indicator, CompositeIndicator):
        return [
            problem
            for part in indicator.composite.parts
            if (problem := _unfitting_part(f"{where}: composite: `{part}`", known.get(part), part, indicator, known))
        ]
    if isinstance(indicator, EventIndicator) and indicator.parent is not None:
        parent = known.get(indicator.parent)
        field = f"{where}: parent: `{indicator.parent}`"
        if not isinstance(parent, EventIndicator):
            return [f"{field} is no indicator that is computed from events{suggestion(indicator.parent, known)}"]
        if parent.topic != indicator.topic:
            return [f"{field} reads {parent.topic}, and not {indicator.topic} as this one: they would not be judged together"]
        if parent.threshold is None:
            return [f"{field} has no threshold, so it never stands breached"]
        if parent.parent is not None:
            return [f"{field} has a parent itself; inhibition has one step"]
        if indicator.threshold is None:
            return [f"{where}: parent: needs a `threshold` here, of which there is something to hold back"]
        if not set(parent.threshold.by) <= set(indicator.threshold.by):
            return [f"{field} is judged by {', '.join(parent.threshold.by)}, which this one is not told apart by"]
    return []


def _unfitting_part(
    where: str, part: Indicator | None, name: str, composite: CompositeIndicator, known: Mapping[str, Indicator]
) -> str | None:
    if part is None:
        return f"{where} is no indicator's id{suggestion(name, known)}"
    if isinstance(part, CompositeIndicator):
        return f"{where} is a composite itself; name its parts"
    missing = [dimension for dimension in composite.dimensions if dimension not in part.dimensions]
    return f"{where} is not told apart by {', '.join(missing)}" if missing else None
