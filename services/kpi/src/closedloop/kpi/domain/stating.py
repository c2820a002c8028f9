"""From minute buckets and what was stated before to what is to be stated now. Pure; the loop around it is `statements.py`.

Every series is stated minute by minute from its own `stated_until` on; a series that was never seen begins at its first bucket. So
a replay of last year makes the statements of last year, while the series of today go on undisturbed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from closedloop.kpi.domain.breach import MinuteSums, Quantities, judge
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.control import UNJUDGED, Periods, judge_periods
from closedloop.kpi.domain.masks import Masks
from closedloop.kpi.domain.statement import Judge, Series, Statement, series_key, signal_of, statement_of
from closedloop.kpi.domain.states import FRESH, Standing, walk
from closedloop.kpi.domain.thresholds import Control, Threshold

DAY: Final = 24 * 60
NO_MASKS: Final = Masks()
MAX_DAYS: Final = 62
"""Days of buckets that one round looks at, so that a long history is stated in bounded memory. More than the longest window."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round reads and how far it states."""

    days: Sequence[int]  # days since 1970 whose buckets are read, ascending
    upto: int  # minute; statements are made at minutes up to this one
    is_last: bool  # whether it reaches the frontier

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The days as minutes [from, to), neighbours joined, none beyond `upto`."""
        joined: list[tuple[int, int]] = []
        for day in self.days:
            start, end = day * DAY, min((day + 1) * DAY, self.upto)
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], end)
            elif start < end:
                joined.append((start, end))
        return joined

    @property
    def finished_days(self) -> list[int]:
        """The days that need no second look unless their buckets change: all their minutes are behind `upto`."""
        return [day for day in self.days if (day + 1) * DAY <= self.upto]


def plan(existing: Iterable[int], changed: Iterable[int], stated: Iterable[tuple[Series, Threshold]], frontier: int) -> Round:
    """The next round.

    `existing`: days that have buckets; `changed`: those of them whose buckets changed since they were finished: a series never seen
    may begin there; `stated`: the known series with their thresholds, whose windows must be whole.
    """
    since = min((series.stated_until + 1 - threshold.window_minutes for series, threshold in stated), default=frontier)
    needed = {day for day in existing if since // DAY <= day} | set(changed)
    days = sorted(day for day in needed if day * DAY < frontier)
    if len(days) <= MAX_DAYS:
        return Round(days, frontier, is_last=True)
    return Round(days[:MAX_DAYS], days[MAX_DAYS] * DAY, is_last=False)


@dataclass(frozen=True, slots=True)
class Watch:
    """An indicator with what it is judged by."""

    indicator: EventIndicator
    by_rule: Threshold | Control

    @property
    def judged_by(self) -> Judge:
        """Which of both."""
        return "threshold" if isinstance(self.by_rule, Threshold) else "control"

    @property
    def name(self) -> str:
        """Tells the watches of one topic apart."""
        return series_key(self.indicator.id, {}, self.judged_by)


MasksOf = Callable[[Mapping[str, str]], Masks]
"""The masks over the series of these dimensions."""


def watches(indicators: Iterable[EventIndicator]) -> list[Watch]:
    """All that is judged of the indicators, parents before their children."""
    ordered = sorted(indicators, key=lambda indicator: indicator.parent is not None)
    return [Watch(i, rule) for i in ordered for rule in (i.threshold, i.control) if rule is not None]


def state(
    indicator: EventIndicator,
    threshold: Threshold,
    totals: pl.DataFrame,
    known: Mapping[str, Series],
    upto: int,
    masks_of: MasksOf = lambda _: NO_MASKS,
    since: int = 0,
) -> tuple[list[Series], list[Statement]]:
    """The indicator's series as they stand at minute `upto` (those that moved), and the statements on the way there.

    `totals`: one row per group of `threshold.by` and minute, with `minute`, `numerator`, `denominator` (ratios only) and `sample`.
    A group in which a dimension is unknown is part of larger groups only: nothing is stated about it. Nothing is stated of a new
    series at `since` or before.
    """
    moved: list[Series] = []
    statements: list[Statement] = []
    for series, sums in _groups(Watch(indicator, threshold), totals, known, upto, since):
        judgement = judge(indicator, threshold, sums, series.stated_until, upto)
        masks = masks_of(series.dimensions)
        found, standing = walk(judgement, threshold.for_minutes, masks, series.standing, upto)
        made = [statement_of(indicator, threshold, series.dimensions, transition) for transition in found]
        moved.append(_moved(series, standing, made, upto))
        statements += made
    return moved, statements


def state_charts(
    indicator: EventIndicator,
    control: Control,
    zone: ZoneInfo,
    edges: Sequence[int],
    totals: pl.DataFrame,
    known: Mapping[str, Series],
    upto: int,
    masks_of: MasksOf = lambda _: NO_MASKS,
    since: int = 0,
) -> tuple[list[Series], list[Statement]]:
    """The same by the control chart. `edges` as `control.edges` gives them, from where the first of the series was stated; `totals`
    must hold all buckets between the first edge and the last. Without edges only masks may change what stands."""
    periods = Periods(np.array(edges, dtype=np.int64))
    moved: list[Series] = []
    statements: list[Statement] = []
    for series, sums in _groups(Watch(indicator, control), totals, known, upto, since):
        judgement = judge_periods(indicator, control, periods, sums, series.standing, series.stated_until)
        found, standing = walk(judgement, 0, masks_of(series.dimensions), series.standing, upto)
        made = [signal_of(indicator, control, zone, series.dimensions, transition) for transition in found]
        moved.append(_moved(series, standing, made, upto))
        statements += made
    return moved, statements


def _groups(
    watch: Watch, totals: pl.DataFrame, known: Mapping[str, Series], upto: int, since: int
) -> Iterator[tuple[Series, MinuteSums]]:
    """The series that are behind `upto`, known or new, with their buckets."""
    found = _by_group(watch.by_rule.by, totals.filter(pl.col("minute") < upto))
    groups = {series_key(watch.indicator.id, dimensions, watch.judged_by): (dimensions, sums) for dimensions, sums in found}
    silent = sums_of(totals.clear())
    for key in dict.fromkeys((*known, *groups)):
        dimensions, sums = groups.get(key, ({}, silent))
        series = known.get(key)
        if series is None:
            new = FRESH if watch.judged_by == "threshold" else UNJUDGED
            begun = max(int(sums.minutes[0]), since)
            series = Series(watch.indicator.id, dimensions, begun, new, judged_by=watch.judged_by)
        if series.stated_until < upto:
            yield series, sums


def _moved(series: Series, standing: Standing, made: Sequence[Statement], upto: int) -> Series:
    said = msgspec.to_builtins(made[-1].data) if made else series.said
    return replace(series, stated_until=upto, standing=standing, said=said)


def _by_group(by: tuple[str, ...], totals: pl.DataFrame) -> Iterable[tuple[dict[str, str], MinuteSums]]:
    """Each group with its buckets, ascending."""
    if not by:
        return [({}, sums_of(totals.sort("minute")))] if totals.height else []
    known = totals.drop_nulls(by).sort(*by, "minute")
    groups = known.group_by(by, maintain_order=True).len("rows")
    ends = groups["rows"].cum_sum().to_list()
    whole = sums_of(known)
    # columns are handed out as slices: thousands of small frames would cost more than the rule
    return [
        (dimensions, _slice(whole, start, end))
        for dimensions, start, end in zip(groups.drop("rows").to_dicts(), [0, *ends], ends, strict=False)
    ]


def _slice(sums: MinuteSums, start: int, end: int) -> MinuteSums:
    denominator = None if sums.denominator is None else sums.denominator[start:end]
    return MinuteSums(sums.minutes[start:end], sums.numerator[start:end], denominator, sums.sample[start:end])


def sums_of(totals: pl.DataFrame) -> MinuteSums:
    """The buckets of one series, ascending by minute."""

    def column(name: str) -> Quantities:
        return totals[name].cast(pl.Float64).to_numpy()

    return MinuteSums(
        minutes=totals["minute"].cast(pl.Int64).to_numpy(),
        numerator=column("numerator"),
        denominator=column("denominator") if "denominator" in totals.columns else None,
        sample=column("sample"),
    )
