"""The monthly quality report: what every indicator was in a month, how that compares, and what is done where it falls short.

A month is the operator's calendar month. Everything here is data and arithmetic; `reports/` gathers, keeps, and draws it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from closedloop.kpi.domain.aggregates import Quantile
from closedloop.kpi.domain.catalogue import EventIndicator, Indicator, ReportedIndicator

Judgement = Literal["ok", "short", "warning", "critical", "too_few", "no_data", "not_judged"]
"""`short`: worse than the target, and no warning yet. `too_few`: it has a value, from too few events to say anything. `not_judged`:
the catalogue has neither target nor levels for it."""
MINIMUM_EVENTS: Final = 30
"""A share, mean or quantile of events is judged from so many on: one order that fails is no month of failures."""
SHORTCOMINGS: Final[frozenset[Judgement]] = frozenset({"short", "warning", "critical"})
UNKNOWN: Final[frozenset[Judgement]] = frozenset({"too_few", "no_data"})
TREND_MONTHS: Final = 13
"""So many months stand in a trend: the report's own, and back to the same month of the year before."""
WORST_UNITS: Final = 5
Month: TypeAlias = str
"""Such as 2026-10."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An indicator's figure: value in its unit, and what it came from. `sample` counts events, or reported figures."""

    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int


@dataclass(frozen=True, slots=True)
class MonthAmount:
    """The figure of one month of a trend."""

    month: Month
    amount: Amount


@dataclass(frozen=True, slots=True)
class UnitAmount:
    """The figure of one region."""

    region: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class Breach:
    """What was stated on `indicators` about one series: it began at `began`; `ended` is None while it stands."""

    series: str
    began: datetime
    ended: datetime | None
    value: float | None
    threshold: float
    level: str


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody who answers for the indicator says of its month."""

    by: str
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a measure is, as of a time."""

    by: str
    at: datetime
    percent: int
    text: str


@dataclass(frozen=True, slots=True)
class Measure:
    """An improvement measure: what is done, by whom, until when, and how far it is."""

    id: str
    text: str
    owner: str
    due: str
    state: str
    progress: Sequence[Progress]


@dataclass(frozen=True, slots=True)
class Figure:
    """One indicator in the report. `month_on_month` and `year_on_year` are differences in its unit; None where one side is unknown.
    `short_since`: the first month of those, without a gap, in which it fell short, also while too little is known; None where it
    does not."""

    indicator_id: str
    name_en: str
    name_zh: str
    factor: str | None
    phase: str
    indicator_class: str
    collection: str
    unit: str
    better: str
    owner: str
    formula: str | None
    target: float | None
    warning: float | None
    critical: float | None
    judgement: Judgement
    amount: Amount
    month_on_month: float | None
    year_on_year: float | None
    trend: Sequence[MonthAmount]
    worst_units: Sequence[UnitAmount]
    breaches: Sequence[Breach]
    short_since: Month | None
    comments: Sequence[Comment]
    measures: Sequence[Measure]
    drill: str
    """The path at which kpi's REST interface says what stands behind it, by the entry of then; `group_by` splits it."""
    counted_from: datetime | None = None
    """Since when its formula is counted, where that is not the whole month."""


@dataclass(frozen=True, slots=True)
class Section:
    """A product or a process with its indicators."""

    kind: Literal["product", "process"]
    name: str
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class LaterReport:
    """What somebody reported after a month was published: a correction where there is a `reason`. `indicator_id` is the restated
    indicator, or a part of it."""

    indicator_id: str
    period: str
    dimensions: Mapping[str, str]
    reason: str | None
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Restated:
    """A figure that later data has changed since its report was published. Why: `events` more (or fewer) than were counted then,
    for what is computed from events; `reports`, the newest first, that came after."""

    month: Month
    indicator_id: str
    name_en: str
    unit: str
    published: Amount
    now: Amount
    events: int | None = None
    region: str | None = None
    """One of the regions that the report named; None: the whole."""
    reports: Sequence[LaterReport] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A month's report over [start, end). `restated` lists what changed since their publication in the months before."""

    month: Month
    zone: str
    start: datetime
    end: datetime
    gathered_at: datetime
    sections: Sequence[Section]
    restated: Sequence[Restated]

    @property
    def figures(self) -> list[Figure]:
        """All figures, section by section."""
        return [figure for section in self.sections for figure in section.figures]

    @property
    def uncommented(self) -> list[Figure]:
        """The figures that fall short and of which nobody who answers for them has said anything yet."""
        return [figure for figure in self.figures if figure.judgement in SHORTCOMINGS and not figure.comments]


def is_enough(indicator: Indicator, amount: Amount) -> bool:
    """Whether the amount says enough to be judged: by the entry's `minimum_sample`; without it of events as many as a share, mean
    or quantile takes, and of a reported figure that it is there."""
    if amount.value is None:
        return False
    if isinstance(indicator, ReportedIndicator):
        size = amount.denominator if indicator.has_parts else None
        return amount.sample >= 1 and (size is None or size >= (indicator.minimum_sample or 0))
    is_sampled = isinstance(indicator, EventIndicator) and (
        indicator.denominator is not None or isinstance(indicator.numerator, Quantile)
    )
    return amount.sample >= (indicator.minimum_sample or (MINIMUM_EVENTS if is_sampled else 1))


def judged(indicator: Indicator, amount: Amount) -> Judgement:
    """A month's figure against the entry's levels, the worst first."""
    value = amount.value
    levels: tuple[tuple[Judgement, float | None], ...] = (
        ("critical", indicator.critical),
        ("warning", indicator.warning),
        ("short", indicator.target),
    )
    if all(level is None for _, level in levels):
        return "not_judged"
    if value is None:
        return "no_data"
    if not is_enough(indicator, amount):
        return "too_few"
    return next((name for name, level in levels if level is not None and _is_worse(value, level, indicator.better)), "ok")


def difference(now: Amount, before: Amount) -> float | None:
    """What the value moved by, in the indicator's unit; None where one of the two is unknown."""
    return None if now.value is None or before.value is None else now.value - before.value


def worst(indicator: Indicator, units: Iterable[UnitAmount], most: int = WORST_UNITS) -> list[UnitAmount]:
    """The regions with the worst values, the worst first; equal ones by their code. Those of which too little is known are left
    out."""
    known = [unit for unit in units if is_enough(indicator, unit.amount)]
    sign = 1 if indicator.better == "higher" else -1
    return sorted(known, key=lambda unit: (sign * (unit.amount.value or 0.0), unit.region))[:most]


def in_sections(figures: Iterable[tuple[Indicator, Figure]]) -> list[Section]:
    """Products first, then processes, each by name. An indicator of a product's process stands with the product."""
    found: dict[tuple[Literal["product", "process"], str], list[Figure]] = {}
    for indicator, figure in figures:
        key: tuple[Literal["product", "process"], str] = (
            ("product", indicator.product) if indicator.product is not None else ("process", indicator.process or "")
        )
        found.setdefault(key, []).append(figure)
    order = {"product": 0, "process": 1}
    return [Section(*key, tuple(found[key])) for key in sorted(found, key=lambda key: (order[key[0]], key[1]))]


def short_since(judgement: Judgement, month: Month, open_since: Month | None) -> Month | None:
    """The month from which it falls short: the one in which its open shortcoming began, or this one. A month of which too little is
    known ends none."""
    if judgement in UNKNOWN:
        return open_since
    return (open_since or month) if judgement in SHORTCOMINGS else None


@dataclass(frozen=True, slots=True)
class Shortcoming:
    """An indicator that fell short from the month `since` on. `gone`: the first published month in which it did not any more."""

    indicator_id: str
    since: Month
    gone: Month | None


def shortcomings(published: Iterable[tuple[Month, Mapping[str, Judgement]]]) -> list[Shortcoming]:
    """From all published months, ascending, with their judgements: in whatever order they were published. One goes on over months
    of which too little is known, and ends where the indicator is not measured, or not judged, any more."""
    found: list[Shortcoming] = []
    since: dict[str, Month] = {}
    for month, judged_ in published:
        for indicator_id, judgement in judged_.items():
            if judgement in SHORTCOMINGS:
                since.setdefault(indicator_id, month)
        over = [id_ for id_ in since if judged_.get(id_, "not_judged") not in SHORTCOMINGS | UNKNOWN]
        found += [Shortcoming(indicator_id, since.pop(indicator_id), month) for indicator_id in over]
    return found + [Shortcoming(indicator_id, month, None) for indicator_id, month in since.items()]


Region: TypeAlias = str | None


def restated(
    month: Month, published: Mapping[str, Figure], now: Mapping[str, Mapping[Region, Amount]], tolerance: float = 1e-9
) -> list[Restated]:
    """The published figures of a month that are others now, wholes (None) and the regions that were named, in the report's order.
    Sums of fractions may differ in their last digits from day to day, as the order of adding does; that is no restatement."""
    changed = []
    for indicator_id, figure in published.items():
        told: dict[Region, Amount] = {None: figure.amount, **{unit.region: unit.amount for unit in figure.worst_units}}
        for region, before in told.items():
            amount = now.get(indicator_id, {}).get(region)
            if amount is not None and not _same(before, amount, tolerance):
                events = amount.sample - before.sample if figure.collection == "events" else None
                changed.append(Restated(month, indicator_id, figure.name_en, figure.unit, before, amount, events, region))
    return changed


def _same(one: Amount, other: Amount, tolerance: float) -> bool:
    return one.sample == other.sample and all(
        _close(a, b, tolerance)
        for a, b in ((one.value, other.value), (one.numerator, other.numerator), (one.denominator, other.denominator))
    )


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))


def _is_worse(value: float, level: float, better: str) -> bool:
    return value < level if better == "higher" else value > level
