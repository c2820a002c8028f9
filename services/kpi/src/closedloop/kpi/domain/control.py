"""How bad a series is from period to period, by its control chart."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from closedloop.kpi.domain.breach import FINE, UNKNOWN, Counts, Judgement, MinuteSums, Quantities
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.control_chart import signals
from closedloop.kpi.domain.states import RANKS, Evidence, Standing
from closedloop.kpi.domain.thresholds import Control, Rule
from closedloop.kpi.domain.windows import minute_of, time_of

HOUR: Final = 60
UNJUDGED: Final = Standing("no_data")
"""A series of which no period was judged yet."""
_NOTHING: Final = Evidence(None, 0.0, 0.0, 0)


def edges(control: Control, zone: ZoneInfo, after: int, upto: int) -> list[int]:
    """The edges of the periods that end in (after, upto], on the operator's clock, and of the `reach` before the first of them.
    Empty where none ends there. The first that is judged is the one that ends at `edges[reach + 1]`."""
    count = control.reach + 1
    if control.period == "hour_of_day":
        return _hours_of_days(zone, after, upto, count)
    if control.period == "hour":
        offset = _offset(after, zone)
        first = (after + offset) // HOUR * HOUR - offset + HOUR
        return list(range(first - count * HOUR, upto + 1, HOUR)) if first <= upto else []
    day = time_of(after).astimezone(zone).date() + timedelta(days=1)
    if _midnight(day, zone) > upto:
        return []
    found = [_midnight(day - timedelta(days=n), zone) for n in range(count, 0, -1)]
    while (midnight := _midnight(day, zone)) <= upto:
        found.append(midnight)
        day += timedelta(days=1)
    return found


def _hours_of_days(zone: ZoneInfo, after: int, upto: int, count: int) -> list[int]:
    """As `edges`, by the wall clock: each day has 24 hours, so that the same hour is always as many periods away. Where the clock
    is set back one of them is two hours long, and where it is set forward one is empty."""
    first = time_of(after).astimezone(zone).date() - timedelta(days=count // 24 + 1)
    last = time_of(upto).astimezone(zone).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    found = [minute_of(datetime(day.year, day.month, day.day, hour, tzinfo=zone)) for day in days for hour in range(24)]
    begin = next((place for place, edge in enumerate(found) if edge > after), len(found))
    ending = [edge for edge in found[begin:] if edge <= upto]
    return [*found[begin - count : begin], *ending] if ending else []


def period_before(control: Control, zone: ZoneInfo, minute: int) -> tuple[int, int]:
    """The last period that ended at this minute or before it, as [start, end)."""
    if control.period == "hour_of_day":
        found = _hours_of_days(zone, minute - 2 * 24 * HOUR, minute, 1)
        return found[-2], found[-1]
    if control.period == "hour":
        offset = _offset(minute, zone)
        end = (minute + offset) // HOUR * HOUR - offset
        return end - HOUR, end
    day = time_of(minute).astimezone(zone).date()
    return _midnight(day - timedelta(days=1), zone), _midnight(day, zone)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return minute_of(datetime(day.year, day.month, day.day, tzinfo=zone))


def _offset(minute: int, zone: ZoneInfo) -> int:
    offset = time_of(minute).astimezone(zone).utcoffset() or timedelta(0)
    return offset // timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Periods:
    """The edges of consecutive periods; one more than there are periods."""

    edges: Counts

    def sums(self, of: MinuteSums) -> tuple[Quantities, Quantities | None, Quantities]:
        """Numerator, denominator (None for a count or a sum) and sample of each period."""
        places = np.searchsorted(self.edges, of.minutes, "right") - 1
        inside = (places >= 0) & (places < len(self.edges) - 1)

        def added(quantities: Quantities) -> Quantities:
            return np.bincount(places[inside], weights=quantities[inside], minlength=len(self.edges) - 1).astype(np.float64)

        denominator = None if of.denominator is None else added(of.denominator)
        return added(of.numerator), denominator, added(of.sample)


def judge_periods(
    indicator: EventIndicator, control: Control, periods: Periods, sums: MinuteSums, standing: Standing, after: int
) -> Judgement:
    """From what the series was judged to be at `after` on, over the periods that end behind it. `sums` must hold all buckets of the
    periods; without a period that ends behind `after` none are needed."""
    ahead = unchanged(standing, after)
    if len(periods.edges) <= control.reach + 1:
        return ahead
    return joined(ahead, _judged(indicator, control, periods, sums), after)


def unchanged(standing: Standing, after: int) -> Judgement:
    """From the minute behind `after` on it is as bad as it was judged to be at `after`."""
    kept = standing.evidence or _NOTHING
    rank = standing.entered
    return Judgement(
        ends=np.array([after + 1], dtype=np.int64),
        enters=np.array([rank], dtype=np.int8),
        holds=np.array([rank], dtype=np.int8),
        value=np.array([np.nan if kept.value is None else kept.value]),
        numerator=np.array([kept.numerator]),
        denominator=np.array([kept.denominator]),
        sample=np.array([kept.sample], dtype=np.float64),
        limit=np.array([np.nan if kept.limit is None else kept.limit]),
        rules=(kept.rule,),
    )


def _judged(indicator: EventIndicator, control: Control, periods: Periods, sums: MinuteSums) -> Judgement:
    numerator, denominator, sample = periods.sums(sums)
    found = signals(control.chart, control.rules, indicator.better, control.baseline, numerator, denominator, control.every)
    first = control.reach
    of_all = sample if denominator is None else denominator
    value = numerator
    if denominator is not None:
        value = np.divide(
            numerator * indicator.factor_of_unit, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0
        )
    ranks = np.where(found.rule != "", RANKS[control.level], FINE).astype(np.int8)
    ranks[~found.is_judged] = UNKNOWN
    rules: list[Rule | None] = [rule or None for rule in found.rule.tolist()]
    return Judgement(
        ends=periods.edges[first + 1 :],
        enters=ranks,
        holds=ranks,
        value=value[first:],
        numerator=numerator[first:],
        denominator=of_all[first:],
        sample=sample[first:],
        limit=found.limit * indicator.factor_of_unit,
        rules=tuple(rules),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One period of a chart, [start, end) in minutes since 1970. `value`, `centre` and the limits of three σ are in the indicator's
    unit, and None where there is none; `rule` is what it signals by."""

    start: int
    end: int
    value: float | None
    centre: float | None
    lower: float | None
    upper: float | None
    rule: Rule | None
    numerator: float
    denominator: float
    sample: int


def chart(indicator: EventIndicator, control: Control, periods: Periods, sums: MinuteSums) -> list[Point]:
    """The chart's points over `periods`, but for the first `reach` of them. A share's limits end at 0 and 1, a rate's at 0."""
    numerator, denominator, _ = periods.sums(sums)
    found = signals(control.chart, control.rules, indicator.better, control.baseline, numerator, denominator, control.every)
    least = -np.inf if control.chart == "xmr" else 0.0
    most = 1.0 if control.chart == "p" else np.inf
    lower = np.clip(found.centre - 3 * found.sigma, least, most) * indicator.factor_of_unit
    upper = np.clip(found.centre + 3 * found.sigma, least, most) * indicator.factor_of_unit
    centre = found.centre * indicator.factor_of_unit
    judged = _judged(indicator, control, periods, sums)
    starts = periods.edges[control.reach : -1]
    points: list[Point] = []
    for at, is_judged in enumerate(found.is_judged.tolist()):
        value = float(judged.value[at])
        points.append(
            Point(
                start=int(starts[at]),
                end=int(judged.ends[at]),
                value=value if np.isfinite(value) else None,
                centre=float(centre[at]) if is_judged else None,
                lower=float(lower[at]) if is_judged else None,
                upper=float(upper[at]) if is_judged else None,
                rule=judged.rules[at],
                numerator=float(judged.numerator[at]),
                denominator=float(judged.denominator[at]),
                sample=round(float(judged.sample[at])),
            )
        )
    return points


def joined(ahead: Judgement, judged: Judgement, after: int) -> Judgement:
    """One after the other; periods that ended before are left out, and what went ahead where one ends at its very minute."""
    start = int(np.searchsorted(judged.ends, after, "right"))
    keep = 0 if start < len(judged.ends) and judged.ends[start] == after + 1 else 1

    def column(name: str) -> Any:
        return np.concatenate((getattr(ahead, name)[:keep], getattr(judged, name)[start:]))

    columns = ("ends", "enters", "holds", "value", "numerator", "denominator", "sample", "limit")
    rules = (*ahead.rules[:keep], *judged.rules[start:])
    return Judgement(**{name: column(name) for name in columns}, rules=rules)
