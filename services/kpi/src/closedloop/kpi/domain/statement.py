"""What kpi says about a series: that it breached its threshold or its control chart signals, or that this is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from closedloop.common.events.model import IndicatorBreachData
from closedloop.kpi.domain.breach import CRITICAL
from closedloop.kpi.domain.catalogue import EventIndicator, Indicator
from closedloop.kpi.domain.control import period_before
from closedloop.kpi.domain.states import FRESH, LEVELS, Reason, Standing, Transition
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.domain.windows import PERIODS, Window, window_start

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Kind = Literal["breached", "recovered"]
Judge = Literal["threshold", "control"]
Withdrawn = Literal["threshold withdrawn", "control withdrawn"]


def minute_at(minute: int) -> datetime:
    """A minute since 1970 as its beginning in UTC."""
    return EPOCH + timedelta(minutes=minute)


def series_key(indicator_id: str, dimensions: Mapping[str, str], judged_by: Judge = "threshold") -> str:
    """The name of a series, such as `order_failure_rate?region=NJ`; by its threshold also the key and subject of its events.
    What is judged by a control chart is a series of its own, `order_failure_rate.control?region=NJ`."""
    name = indicator_id if judged_by == "threshold" else f"{indicator_id}.control"
    return f"{name}?{urlencode(sorted(dimensions.items()))}" if dimensions else name


@dataclass(frozen=True, slots=True)
class Series:
    """One indicator's group, how it stands, and what was stated about it. `said` is the data of its last statement, None before the
    first."""

    indicator_id: str
    dimensions: Mapping[str, str]
    stated_until: int
    standing: Standing = FRESH
    said: Mapping[str, Any] | None = field(default=None, compare=False)
    judged_by: Judge = "threshold"

    @property
    def key(self) -> str:
        """Its name."""
        return series_key(self.indicator_id, self.dimensions, self.judged_by)

    @property
    def watch(self) -> str:
        """What judges it: the name of the series over all."""
        return series_key(self.indicator_id, {}, self.judged_by)

    @property
    def is_breached(self) -> bool:
        """Whether it stands at a level."""
        return self.standing.rank > 0


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, made at minute `end` of event time. Its id derives from what it says: said again, it is the same event."""

    end: int
    kind: Kind
    reason: Reason | Withdrawn
    data: IndicatorBreachData
    judged_by: Judge = "threshold"
    rank: int = 0
    """Where the series stands from then on."""

    @property
    def series(self) -> str:
        """The series that it is about."""
        return series_key(self.data.indicator_id, self.data.dimensions, self.judged_by)

    @property
    def subject(self) -> str:
        """Key and subject of its event: indicator and dimensions."""
        return series_key(self.data.indicator_id, self.data.dimensions)

    @property
    def sequence(self) -> int:
        """Grows with each statement about the subject: each of its series is stated about at most once a minute."""
        return self.end * 2 + (self.judged_by == "control")

    @property
    def event_id(self) -> str:
        """The CloudEvents id."""
        # a series that was judged by its period, and is by a threshold now, may say both of one minute
        of = f"{self.series} {self.data.window}" if self.data.window in PERIODS else self.series
        digest = blake2b(of.encode(), digest_size=8).hexdigest()
        return f"{self.data.indicator_id}.{self.kind}.{self.end}.{digest}"

    @property
    def at(self) -> datetime:
        """Its event time."""
        return minute_at(self.end)


def statement_of(
    indicator: EventIndicator, threshold: Threshold, dimensions: Mapping[str, str], transition: Transition
) -> Statement:
    """The statement of a transition by the threshold."""
    window = (transition.end - threshold.window_minutes, transition.end)
    # what was crossed: the level that began, or the one that ended
    crossed = max(transition.rank, transition.before)
    limit = threshold.critical if crossed == CRITICAL or threshold.warning is None else threshold.warning
    query = {"window": threshold.window, "to": _rfc3339(transition.end)}
    return _statement(indicator, dimensions, transition, "threshold", threshold.window, window, limit, query)


def signal_of(
    indicator: EventIndicator, control: Control, zone: ZoneInfo, dimensions: Mapping[str, str], transition: Transition
) -> Statement:
    """The statement of a transition by the control chart; `threshold` is its limit of three σ."""
    start, end = period_before(control, zone, transition.end)
    limit = transition.evidence.limit or 0.0
    period, window, step = ("day", "24h", "1d") if control.period == "day" else ("hour", "1h", "1h")
    since = end - (end - start) * control.reach
    query = {"window": window, "step": step, "from": _rfc3339(since), "to": _rfc3339(end)}
    return _statement(indicator, dimensions, transition, "control", period, (start, end), limit, query)


def period_statement_of(
    indicator: Indicator, window: Window, zone: ZoneInfo, dimensions: Mapping[str, str], transition: Transition
) -> Statement:
    """The statement of a transition by the levels of a period; the window is the period, whenever that was judged."""
    until = transition.evidence.until or transition.end
    levels = (indicator.critical, indicator.warning)
    # what was crossed; a level that the entry no longer has was crossed back by the one that is left
    crossed = levels if max(transition.rank, transition.before) == CRITICAL else levels[::-1]
    limit = next(level for level in crossed if level is not None)
    query = {"window": window, "step": "month", "to": _rfc3339(until)}
    covers = (window_start(window, until, zone), until)
    return _statement(indicator, dimensions, transition, "threshold", window, covers, limit, query)


def _statement(
    indicator: Indicator,
    dimensions: Mapping[str, str],
    transition: Transition,
    judged_by: Judge,
    window: str,
    covers: tuple[int, int],
    limit: float,
    query: Mapping[str, str],
) -> Statement:
    evidence = transition.evidence
    data = IndicatorBreachData(
        indicator_id=indicator.id,
        dimensions=dict(dimensions),
        window=window,
        window_start=_rfc3339(covers[0]),
        window_end=_rfc3339(covers[1]),
        value=evidence.value,
        threshold=limit,
        better=indicator.better,
        numerator=evidence.numerator,
        denominator=evidence.denominator,
        sample=evidence.sample,
        owner=indicator.owner,
        region=dimensions.get("region"),
        level=LEVELS.get(transition.rank),
        rule=evidence.rule if transition.is_breach else None,
        target=indicator.target,
        series_url=f"/v1/indicators/{indicator.id}/series?{urlencode({**query, **dict(sorted(dimensions.items()))})}",
    )
    kind: Kind = "breached" if transition.is_breach else "recovered"
    return Statement(transition.end, kind, transition.reason, data, judged_by, transition.rank)


def withdrawal_of(series: Series, end: int) -> Statement:
    """The end of a breach whose threshold or chart no longer stands in the catalogue; `series` must have been stated breached."""
    last = msgspec.convert(series.said, IndicatorBreachData)
    data = msgspec.structs.replace(last, value=None, window_end=_rfc3339(end), level=None, rule=None)
    reason: Withdrawn = "threshold withdrawn" if series.judged_by == "threshold" else "control withdrawn"
    return Statement(end, "recovered", reason, data, series.judged_by)


def _rfc3339(minute: int) -> str:
    return minute_at(minute).strftime("%Y-%m-%dT%H:%M:%SZ")
