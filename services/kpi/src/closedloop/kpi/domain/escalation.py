"""When a breach that nobody has acknowledged is said again. By the clock, unlike the breach itself: it is people who are late."""

from datetime import datetime, timedelta
from typing import Final

LONGEST: Final = timedelta(days=1)


def wait(escalations: int, after_minutes: int) -> timedelta:
    """How long after it was said the last time a breach is said again that was escalated so often already: twice as long each time,
    a day at most (or `after_minutes`, where that is more)."""
    after = timedelta(minutes=after_minutes)
    return min(after * (1 << min(escalations, 12)), max(after, LONGEST))


def is_due(breached_at: datetime, escalated_at: datetime | None, escalations: int, after_minutes: int, now: datetime) -> bool:
    """Whether a breach that was stated at `breached_at`, and escalated so often, the last time at `escalated_at`, is due again."""
    return now - (escalated_at or breached_at) >= wait(escalations, after_minutes)
