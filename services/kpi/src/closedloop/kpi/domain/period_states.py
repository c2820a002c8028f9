"""How an indicator stands by the levels that its entry has for a period, where nothing judges its events as they come.

A period's figure is known once somebody has reported it. So series are judged by the clock: at a minute a series rests on the newer
of the last two periods that are over of which a value is known. A figure may come a whole period late; what is not there by then
is not known any more, and what stood has ended. What is corrected in a period before changes no state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from closedloop.kpi.domain.breach import CRITICAL, FINE, UNKNOWN, WARNING, Judgement
from closedloop.kpi.domain.catalogue import Granularity, Indicator
from closedloop.kpi.domain.control import joined, unchanged
from closedloop.kpi.domain.report import Amount, is_enough, judged
from closedloop.kpi.domain.report import Judgement as Judged
from closedloop.kpi.domain.statement import Series, Statement, period_statement_of, series_key
from closedloop.kpi.domain.states import Evidence, walk
from closedloop.kpi.domain.stating import NO_MASKS, MasksOf
from closedloop.kpi.domain.windows import Window, window_start

ESCALATE_AFTER_MINUTES: Final = 24 * 60
"""How long a breach of a period may stand until it is said again: its figure was late by days already."""
_WINDOWS: Final[dict[Granularity, Window]] = {
    "minute": "month",
    "day": "month",
    "month": "month",
    "quarter": "quarter",
    "year": "year",
}
_RANKS: Final[dict[Judged, int]] = {"warning": WARNING, "critical": CRITICAL}
Dimensions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PeriodAmount:
    """An indicator's figure of the period that ends before minute `until`."""

    until: int
    amount: Amount


def window_of(indicator: Indicator) -> Window:
    """The period that is judged: the month, or the longer one for which figures are reported."""
    return _WINDOWS[indicator.granularity]


def window_within(indicator: Indicator, end: int, zone: ZoneInfo) -> tuple[Window, int]:
    """The window of a month's report that ends at `end`, and where it ends: the month so far; of what is known for longer periods
    only, the last one that was over by then."""
    window = window_of(indicator)
    return (window, end) if window == "month" else (window, window_start(window, end + 1, zone))


def last_ends(window: Window, minute: int, zone: ZoneInfo) -> tuple[int, int]:
    """Where the last two periods end that are over at the minute, the earlier first."""
    last = window_start(window, minute + 1, zone)
    return window_start(window, last, zone), last


def state(
    indicator: Indicator,
    zone: ZoneInfo,
    ends: tuple[int, int],
    amounts: Mapping[Dimensions, Sequence[PeriodAmount]],
    known: Mapping[str, Series],
    upto: int,
    masks_of: MasksOf = lambda _: NO_MASKS,
) -> tuple[list[Series], list[Statement]]:
    """The indicator's series as they stand at minute `upto` (those that moved), and the statements on the way there.

    `ends` as `last_ends` gives them for a minute up to `upto`; `amounts`: group → its figures of these two periods, the earlier
    first; a group that is not there has none. A series that was never seen begins with its first value.
    """
    silent = [PeriodAmount(end, Amount(None, None, None, 0)) for end in ends]
    found = {series_key(indicator.id, dict(group)): (dict(group), two) for group, two in amounts.items()}
    moved: list[Series] = []
    statements: list[Statement] = []
    for key in dict.fromkeys((*known, *found)):
        dimensions, two = found.get(key, ({}, silent))
        newest = newest_known(indicator, two)
        series = known.get(key)
        if series is None and newest is not None:
            series = Series(indicator.id, dimensions, upto - 1)
        if series is not None and series.stated_until < upto:
            series, made = _state(indicator, zone, series, newest, two[-1], upto, masks_of)
            moved.append(series)
            statements += made
    return moved, statements


def newest_known(indicator: Indicator, two: Sequence[PeriodAmount]) -> PeriodAmount | None:
    """On which of these figures, the earlier first, the indicator rests."""
    return next((one for one in reversed(two) if is_enough(indicator, one.amount)), None)


def _state(
    indicator: Indicator,
    zone: ZoneInfo,
    series: Series,
    newest: PeriodAmount | None,
    last: PeriodAmount,
    upto: int,
    masks_of: MasksOf,
) -> tuple[Series, list[Statement]]:
    judgement = joined(unchanged(series.standing, series.stated_until), _judged(indicator, newest, last, upto), series.stated_until)
    before, now = series.standing.evidence, (newest or last).until

    def dated(evidence: Evidence, minute: int) -> Evidence:
        return replace(evidence, until=now if minute == upto or before is None else before.until)

    transitions, standing = walk(judgement, 0, masks_of(series.dimensions), series.standing, upto)
    standing = replace(standing, evidence=standing.evidence and dated(standing.evidence, upto))
    made = [
        period_statement_of(indicator, window_of(indicator), zone, series.dimensions, replace(t, evidence=dated(t.evidence, t.end)))
        for t in transitions
    ]
    said = msgspec.to_builtins(made[-1].data) if made else series.said
    return replace(series, stated_until=upto, standing=standing, said=said), made


def _judged(indicator: Indicator, newest: PeriodAmount | None, last: PeriodAmount, upto: int) -> Judgement:
    """How bad it is at `upto`."""
    amount = (newest or last).amount
    # a value without parts stands over 1: that is what it says
    numerator = amount.value if amount.numerator is None else amount.numerator
    denominator = amount.denominator if amount.denominator is not None or amount.value is None else 1.0
    rank = UNKNOWN if newest is None else _RANKS.get(judged(indicator, amount), FINE)
    return Judgement(
        ends=np.array([upto], dtype=np.int64),
        enters=np.array([rank], dtype=np.int8),
        holds=np.array([rank], dtype=np.int8),
        value=np.array([np.nan if amount.value is None else amount.value]),
        numerator=np.array([0.0 if numerator is None else numerator]),
        denominator=np.array([0.0 if denominator is None else denominator]),
        sample=np.array([amount.sample], dtype=np.float64),
        limit=np.array([np.nan]),
        rules=(None,),
    )
