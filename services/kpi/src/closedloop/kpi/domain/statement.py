"""What kpi says about a series: that it breached its threshold, or that this is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from closedloop.common.events.model import IndicatorBreachData
from closedloop.kpi.domain.breach import Reason, Transition
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.thresholds import Threshold

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Kind = Literal["breached", "recovered"]


def minute_at(minute: int) -> datetime:
    """A minute since 1970 as its beginning in UTC."""
    return EPOCH + timedelta(minutes=minute)


def series_key(indicator_id: str, dimensions: Mapping[str, str]) -> str:
    """The name of a series, such as `order_failure_rate?region=NJ`; also the key and subject of its events."""
    return f"{indicator_id}?{urlencode(sorted(dimensions.items()))}" if dimensions else indicator_id


@dataclass(frozen=True, slots=True)
class Series:
    """One indicator's group and what was stated about it. `said` is the data of its last statement, None before the first."""

    indicator_id: str
    dimensions: Mapping[str, str]
    stated_until: int
    is_breached: bool = False
    said: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """Its name."""
        return series_key(self.indicator_id, self.dimensions)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, made at minute `end` of event time. Its id derives from what it says: said again, it is the same event."""

    end: int
    kind: Kind
    reason: Reason | Literal["threshold withdrawn"]
    data: IndicatorBreachData

    @property
    def series(self) -> str:
        """The series that it is about."""
        return series_key(self.data.indicator_id, self.data.dimensions)

    @property
    def event_id(self) -> str:
        """The CloudEvents id."""
        digest = blake2b(self.series.encode(), digest_size=8).hexdigest()
        return f"{self.data.indicator_id}.{self.kind}.{self.end}.{digest}"

    @property
    def at(self) -> datetime:
        """Its event time."""
        return minute_at(self.end)


def statement_of(
    indicator: EventIndicator, threshold: Threshold, dimensions: Mapping[str, str], transition: Transition
) -> Statement:
    """The statement of a series' transition."""
    data = IndicatorBreachData(
        indicator_id=indicator.id,
        dimensions=dict(dimensions),
        window=threshold.window,
        window_start=_rfc3339(transition.end - threshold.window_minutes),
        window_end=_rfc3339(transition.end),
        value=transition.value,
        threshold=threshold.critical,
        better=indicator.better,
        numerator=transition.numerator,
        denominator=transition.denominator,
        sample=transition.sample,
        owner=indicator.owner,
        region=dimensions.get("region"),
    )
    return Statement(transition.end, "breached" if transition.is_breach else "recovered", transition.reason, data)


def withdrawal_of(series: Series, end: int) -> Statement:
    """The end of a breach whose threshold no longer stands in the catalogue; `series` must have been stated breached."""
    last = msgspec.convert(series.said, IndicatorBreachData)
    return Statement(end, "recovered", "threshold withdrawn", msgspec.structs.replace(last, value=None, window_end=_rfc3339(end)))


def _rfc3339(minute: int) -> str:
    return minute_at(minute).strftime("%Y-%m-%dT%H:%M:%SZ")
