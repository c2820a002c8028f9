"""What is judged of an indicator as events come: fixed thresholds over a rolling window, and control charts over whole periods."""

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

Level = Literal["warning", "critical"]
Chart = Literal["xmr", "p", "u"]
Period = Literal["hour", "hour_of_day", "day"]
"""`hour_of_day`: each hour against the same hour of the days before, where the day has a rhythm."""
Rule = Literal["beyond_limit", "two_of_three", "four_of_five", "eight_on_one_side"]

THRESHOLD_WINDOWS: Final = {"5m": 5, "1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60, "30d": 30 * 24 * 60}
"""Windows over which a threshold may look, in minutes. They slide, so the operator's time zone plays no part in them."""

ESCALATE_AFTER_MINUTES: Final = 60


@dataclass(frozen=True, slots=True)
class Mute:
    """A time of some days, on the operator's clock, in which no breach begins; one that stands may go on, and may end.

    `weekdays`: 0 is Monday; `start` and `end`: minutes of the day, end excluded; an end before the start is on the next day.
    `first` and `last`: the only days, both included, such as those of a holiday.
    """

    weekdays: frozenset[int]
    start: int
    end: int
    first: date | None = None
    last: date | None = None

    def is_on(self, day: date) -> bool:
        """Whether it begins on this day."""
        return day.weekday() in self.weekdays and (self.first is None or self.last is None or self.first <= day <= self.last)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Breached while the value over `window` is worse than `critical` (or than `warning`, where there is one) on at least
    `minimum_sample` events, for `for_minutes` on end; over once it is better than that by `hysteresis`. Per group of `by`."""

    window: str
    critical: float
    minimum_sample: int
    by: tuple[str, ...] = ()
    warning: float | None = None
    hysteresis: float = 0.0
    """In the indicator's unit."""
    for_minutes: int = 0
    escalate_after_minutes: int = ESCALATE_AFTER_MINUTES
    """How long a breach may stand before it is escalated, and then again, until somebody acknowledges it."""
    mute: tuple[Mute, ...] = ()

    @property
    def window_minutes(self) -> int:
        """The window's length."""
        return THRESHOLD_WINDOWS[self.window]


@dataclass(frozen=True, slots=True)
class Control:
    """A control chart over whole periods of the operator's clock; its limits come from the `baseline` periods before, or from the
    same hour of so many days."""

    chart: Chart
    period: Period
    baseline: int
    rules: tuple[Rule, ...]
    by: tuple[str, ...] = ()
    level: Level = "warning"
    mute: tuple[Mute, ...] = ()

    @property
    def every(self) -> int:
        """A period is compared with each so-many-th before it."""
        return 24 if self.period == "hour_of_day" else 1

    @property
    def reach(self) -> int:
        """So many periods before a period its limits come from, or lie between those."""
        return self.baseline * self.every
