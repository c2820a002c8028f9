"""A hot subject: so many distinct customers within 24 hours, whatever its history."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

HOT_WINDOW = timedelta(hours=24)
MINUTE = timedelta(minutes=1)
SILENCE = timedelta(hours=24)


@dataclass(frozen=True)
class HotMinute:
    """At `at` (a whole minute, UTC) `customers` distinct customers had complained in the 24 h before."""

    at: datetime
    customers: int


def minute_after(time: datetime) -> datetime:
    """The first whole minute later than `time`: by then its complaint is among those counted."""
    return time.replace(second=0, microsecond=0) + MINUTE


def first_hot_minute(
    complaints: Iterable[tuple[datetime, str]], threshold: int, *, after: datetime, until: datetime
) -> HotMinute | None:
    """The first minute in (after, until] within which a complaint came and [minute - 24 h, minute) held so many customers.

    `complaints` are (time in UTC, customer), by time, from 24 h before `after` on. Minutes without a complaint are not looked
    at: a count cannot rise in them.
    """
    window: deque[tuple[datetime, str]] = deque()
    customers: Counter[str] = Counter()
    minute: datetime | None = None

    def hot() -> HotMinute | None:
        if minute is None or not after < minute <= until:
            return None
        while window and window[0][0] < minute - HOT_WINDOW:
            _, gone = window.popleft()
            customers[gone] -= 1
            if not customers[gone]:
                del customers[gone]
        return HotMinute(minute, len(customers)) if len(customers) >= threshold else None

    for time, customer in complaints:
        closes = minute_after(time)
        if closes != minute:
            if (found := hot()) is not None:
                return found
            minute = closes
        window.append((time, customer))
        customers[customer] += 1
    return hot()
