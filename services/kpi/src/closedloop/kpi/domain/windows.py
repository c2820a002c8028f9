"""Windows and steps in event time. A minute is a whole number of minutes since 1970 in UTC; days and months are the operator's."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.thresholds import THRESHOLD_WINDOWS

Window: TypeAlias = Literal["5m", "1h", "24h", "7d", "30d", "month", "quarter", "year"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
PERIODS: Final[tuple[Window, ...]] = ("month", "quarter", "year")
"""The windows that are the calendar's."""
MOST_POINTS: Final = 10_000
STEP: Final = re.compile(r"([1-9][0-9]{0,5})(m|h|d)\Z|month\Z")
_MONTHS: Final[dict[str, int]] = {"month": 1, "quarter": 3, "year": 12}
NATURAL_STEP: Final[dict[Window, str]] = {
    "5m": "5m",
    "1h": "1h",
    "24h": "1h",
    "7d": "1d",
    "30d": "1d",
    "month": "1d",
    "quarter": "month",
    "year": "month",
}
"""The step of a series that does not say one."""
NATURAL_POINTS: Final = 24
"""How many steps a series goes back that does not say from when."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TooManyPoints(ValueError):
    """More than may be asked for at once."""


def minute_of(at: datetime) -> int:
    """The whole minutes up to an aware time."""
    return (at - _EPOCH) // timedelta(minutes=1)


def time_of(minute: int) -> datetime:
    """A minute's beginning, in UTC."""
    return _EPOCH + timedelta(minutes=minute)


def window_start(window: Window, end: int, zone: ZoneInfo) -> int:
    """The first minute of the window that ends before `end`. A month (quarter, year) is the calendar's one of its last minute: it
    is whole where `end` is the beginning of the next."""
    if window not in _MONTHS:
        return end - THRESHOLD_WINDOWS[window]
    last = time_of(end - 1).astimezone(zone)
    month = (last.month - 1) // _MONTHS[window] * _MONTHS[window] + 1
    return minute_of(last.replace(month=month, day=1, hour=0, minute=0, second=0, microsecond=0))


def points(start: int, end: int, step: str, zone: ZoneInfo) -> list[int]:
    """`start`, and every step after it up to and with `end`. Days and months step on the operator's clock. Raises TooManyPoints,
    and ValueError where `step` does not match STEP."""
    found: list[int] = []
    for point in _steps(start, step, zone):
        if point > end:
            return found
        if len(found) == MOST_POINTS:
            raise TooManyPoints
        found.append(point)
    return found


def natural(end: int, step: str, zone: ZoneInfo) -> int:
    """The last boundary of the step that is not after `end`: of months and days the operator's midnight, of minutes and hours
    a whole number of steps after it. Raises ValueError where `step` does not match STEP."""
    number, unit = _parsed(step)
    local = time_of(end).astimezone(zone)
    midnight = local.replace(hour=0, minute=0, fold=0)
    if unit == "month":
        return minute_of(midnight.replace(day=1))
    if unit == "d":
        return minute_of(midnight)
    length = number * (60 if unit == "h" else 1)
    return end - (end - minute_of(midnight)) % length


def back(end: int, steps: int, step: str, zone: ZoneInfo) -> int:
    """The point so many steps before `end`."""
    number, unit = _parsed(step)
    if unit in ("m", "h"):
        return end - steps * number * (60 if unit == "h" else 1)
    return _moved(time_of(end).astimezone(zone), -steps * number, unit)


def _steps(start: int, step: str, zone: ZoneInfo) -> Iterator[int]:
    number, unit = _parsed(step)
    local = time_of(start).astimezone(zone)
    for n in range(MOST_POINTS + 1):
        if unit in ("m", "h"):
            yield start + n * number * (60 if unit == "h" else 1)
        else:
            yield _moved(local, n * number, unit)


def _moved(local: datetime, by: int, unit: str) -> int:
    """The same time of day so many days or months later; a day that the month does not have is its last."""
    if unit == "d":
        return minute_of((local + timedelta(days=by)).astimezone(UTC))
    months = local.year * 12 + local.month - 1 + by
    first = local.replace(year=months // 12, month=months % 12 + 1, day=1)
    length = ((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    return minute_of(first.replace(day=min(local.day, length)).astimezone(UTC))


def _parsed(step: str) -> tuple[int, str]:
    match = STEP.match(step)
    if match is None:
        raise ValueError("must be a number with m, h or d, such as 15m, or month")
    return (1, "month") if step == "month" else (int(match[1]), match[2])
