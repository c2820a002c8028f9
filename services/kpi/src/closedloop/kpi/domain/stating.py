"""From minute buckets and what was stated before to what is to be stated now. Pure; the loop around it is `statements.py`.

Every series is stated minute by minute from its own `stated_until` on; a series that was never seen begins at its first bucket. So
a replay of last year makes the statements of last year, while the series of today go on undisturbed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import polars as pl

from closedloop.kpi.domain.breach import MinuteSums, Quantities, transitions
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.statement import Series, Statement, series_key, statement_of
from closedloop.kpi.domain.thresholds import Threshold

DAY: Final = 24 * 60
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


def state(
    indicator: EventIndicator, threshold: Threshold, totals: pl.DataFrame, known: Mapping[str, Series], upto: int
) -> tuple[list[Series], list[Statement]]:
    """The indicator's series as they stand at minute `upto` (those that moved), and the statements on the way there.

    `totals`: one row per group of `threshold.by` and minute, with `minute`, `numerator`, `denominator` (ratios only) and `sample`.
    A group in which a dimension is unknown is part of larger groups only: nothing is stated about it.
    """
    found = _by_group(threshold, totals.filter(pl.col("minute") < upto))
    groups = {series_key(indicator.id, dimensions): (dimensions, sums) for dimensions, sums in found}
    silent = _sums(totals.clear())
    moved: list[Series] = []
    statements: list[Statement] = []
    for key in dict.fromkeys((*known, *groups)):
        dimensions, sums = groups.get(key, ({}, silent))
        series = known.get(key) or Series(indicator.id, dimensions, stated_until=int(sums.minutes[0]))
        if series.stated_until >= upto:
            continue
        made = [
            statement_of(indicator, threshold, series.dimensions, transition)
            for transition in transitions(indicator, threshold, sums, series.stated_until, upto, series.is_breached)
        ]
        series = replace(series, stated_until=upto)
        if made:
            series = replace(series, is_breached=made[-1].kind == "breached", said=msgspec.to_builtins(made[-1].data))
        moved.append(series)
        statements += made
    return moved, statements


def _by_group(threshold: Threshold, totals: pl.DataFrame) -> Iterable[tuple[dict[str, str], MinuteSums]]:
    """Each group of the threshold with its buckets, ascending."""
    if not threshold.by:
        return [({}, _sums(totals.sort("minute")))] if totals.height else []
    known = totals.drop_nulls(threshold.by).sort(*threshold.by, "minute")
    groups = known.group_by(threshold.by, maintain_order=True).len("rows")
    ends = groups["rows"].cum_sum().to_list()
    whole = _sums(known)
    # columns are handed out as slices: thousands of small frames would cost more than the rule
    return [
        (dimensions, _slice(whole, start, end))
        for dimensions, start, end in zip(groups.drop("rows").to_dicts(), [0, *ends], ends, strict=False)
    ]


def _slice(sums: MinuteSums, start: int, end: int) -> MinuteSums:
    denominator = None if sums.denominator is None else sums.denominator[start:end]
    return MinuteSums(sums.minutes[start:end], sums.numerator[start:end], denominator, sums.sample[start:end])


def _sums(totals: pl.DataFrame) -> MinuteSums:
    def column(name: str) -> Quantities:
        return totals[name].cast(pl.Float64).to_numpy()

    return MinuteSums(
        minutes=totals["minute"].cast(pl.Int64).to_numpy(),
        numerator=column("numerator"),
        denominator=column("denominator") if "denominator" in totals.columns else None,
        sample=column("sample"),
    )
