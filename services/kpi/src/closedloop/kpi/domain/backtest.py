"""What a threshold, a control chart or levels of a period would have said over history. Pure: buckets or figures in, breaches out,
nothing is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.common.events.model import IndicatorBreachData
from closedloop.kpi.domain import period_states
from closedloop.kpi.domain.catalogue import EventIndicator, Indicator
from closedloop.kpi.domain.control import edges
from closedloop.kpi.domain.masks import Masks, muted
from closedloop.kpi.domain.period_states import Dimensions, PeriodAmount, window_of
from closedloop.kpi.domain.statement import Series, Statement
from closedloop.kpi.domain.stating import state, state_charts
from closedloop.kpi.domain.thresholds import Control, Level, Threshold
from closedloop.kpi.domain.windows import window_start

MOST_DAYS: Final = 400
DAYS_AT_ONCE: Final = 31
MOST_SERIES: Final = 1_000
MOST_PERIODS: Final = 120
DAY: Final = 24 * 60


class TooManySeries(ValueError):
    """The rule tells more groups apart than a backtest may."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A time at a level. `begin` and `end` are minutes since 1970; `end` is None where it went on. `data`: as it was stated at its
    beginning, with value, limit and window; `over`: at its end; `reason`: why it ended."""

    series: str
    begin: int
    end: int | None
    level: Level
    data: IndicatorBreachData
    reason: str | None
    over: IndicatorBreachData | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """A part of the history: the minutes in (after, upto], and the buckets [reads_from, reads_to) that are needed for them."""

    after: int
    upto: int
    reads_from: int
    reads_to: int


class Backtest:
    """One rule over the minutes in (since, until]. Ask for the buckets of each of `rounds` and hand them in, in order.

    Mutes of the rule count; silences and parents do not: it is the rule itself that is tested. What stands at the beginning is
    stated at the first minute.
    """

    def __init__(self, indicator: EventIndicator, rule: Threshold | Control, zone: ZoneInfo, since: int, until: int) -> None:
        self.indicator = indicator
        self.rule = rule
        self._zone = zone
        self._since = since
        self._known: dict[str, Series] = {}
        self._made: list[Statement] = []
        self.rounds = [
            self._round(after, min(after + DAYS_AT_ONCE * DAY, until)) for after in range(since, until, DAYS_AT_ONCE * DAY)
        ]

    def _round(self, after: int, upto: int) -> Round:
        if isinstance(self.rule, Threshold):
            return Round(after, upto, after + 1 - self.rule.window_minutes, upto)
        found = edges(self.rule, self._zone, after, upto)
        return Round(after, upto, found[0], found[-1]) if found else Round(after, upto, after, after)

    def take(self, round_: Round, totals: pl.DataFrame) -> None:
        """`totals`: the round's buckets per group of the rule's `by` and minute. Raises TooManySeries."""
        after, upto = round_.after, round_.upto
        masks = Masks(muted(self.rule.mute, self._zone, after, upto))
        if isinstance(self.rule, Threshold):
            moved, made = state(self.indicator, self.rule, totals, self._known, upto, lambda _: masks, after)
        else:
            known = edges(self.rule, self._zone, after, upto)
            moved, made = state_charts(
                self.indicator, self.rule, self._zone, known, totals, self._known, upto, lambda _: masks, after
            )
        self._known |= {series.key: series for series in moved}
        if len(self._known) > MOST_SERIES:
            raise TooManySeries
        self._made += made

    def breaches(self) -> list[Breach]:
        """All that would have been raised, by their beginning."""
        return paired(self._made)


@dataclass(frozen=True, slots=True)
class Levels:
    """What a period is judged by, in place of what the entry says."""

    warning: float | None
    critical: float | None


def period_ends(indicator: Indicator, zone: ZoneInfo, since: int, until: int) -> list[int]:
    """Where the indicator's periods end that are over in (since, until], and the one before them; empty where none is."""
    window = window_of(indicator)
    found = [window_start(window, until + 1, zone)]
    while found[-1] > since:
        found.append(window_start(window, found[-1], zone))
    return found[::-1] if len(found) > 1 else []


def over_periods(
    indicator: Indicator, levels: Levels, zone: ZoneInfo, ends: Sequence[int], amounts: Mapping[Dimensions, Sequence[PeriodAmount]]
) -> list[Breach]:
    """What the levels would have said of the periods that end at `ends`, judged at each end but the first. `amounts`: group → its
    figures of all of them, in that order."""
    judged = replace(indicator, warning=levels.warning, critical=levels.critical)
    known: dict[str, Series] = {}
    made: list[Statement] = []
    for place, two in enumerate(pairwise(ends)):
        own = {group: figures[place : place + 2] for group, figures in amounts.items()}
        moved, some = period_states.state(judged, zone, two, own, known, two[1])
        known |= {series.key: series for series in moved}
        made += some
    return paired(made)


def paired(statements: Iterable[Statement]) -> list[Breach]:
    """The times at a level, from what was stated. One that was left for a worse level ends where that begins, and one that is
    back at the warning is a time at the warning."""
    found: list[Breach] = []
    open_: dict[str, Statement] = {}
    for statement in sorted(statements, key=lambda s: (s.end, s.series)):
        before = open_.pop(statement.series, None)
        if before is not None:
            found.append(_breach(before, statement))
        if statement.rank:
            open_[statement.series] = statement
    found += [_breach(statement, None) for statement in open_.values()]
    return sorted(found, key=lambda breach: (breach.begin, breach.series))


def _breach(begin: Statement, end: Statement | None) -> Breach:
    level: Level = "critical" if begin.data.level is None else begin.data.level
    return Breach(
        begin.series,
        begin.end,
        None if end is None else end.end,
        level,
        begin.data,
        None if end is None else end.reason,
        None if end is None else end.data,
    )


def overlapping(breaches: Sequence[Breach], since: int, until: int) -> list[Breach]:
    """Those of which some minute lies in (since, until]."""
    return [breach for breach in breaches if breach.begin <= until and (breach.end is None or breach.end > since)]
