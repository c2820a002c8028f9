"""When a breach that nobody has acknowledged is said again. By the clock, unlike the breach itself: it is people who are late."""

from datetime import datetime, timedelta
from typing import Final

MOST: Final = 3
"""So often a breach is escalated; who has not answered by then does not read it."""


def is_due(breached_at: datetime, escalated_at: datetime | None, escalations: int, after_minutes: int, now: datetime) -> bool:
    """Whether a breach that was stated at `breached_at`, and escalated so often, the last time at `escalated_at`, is due again."""
    return escalations < MOST and now - (escalated_at or breached_at) >= timedelta(minutes=after_minutes)
