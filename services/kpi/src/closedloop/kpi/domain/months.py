"""Calendar months of the operator, written 2026-10."""

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.windows import minute_of, time_of

_MONTH: Final = re.compile(r"(20\d{2}|2100)-(0[1-9]|1[0-2])\Z")


def is_month(text: str) -> bool:
    """Whether it is written as a month from 2000-01 to 2100-12."""
    return _MONTH.match(text) is not None


def month_of(minute: int, zone: ZoneInfo) -> str:
    """The month in which a minute lies."""
    return time_of(minute).astimezone(zone).strftime("%Y-%m")


def earlier(month: str, by: int) -> str:
    """The month so many months before; after it where `by` is negative."""
    total = int(month[:4]) * 12 + int(month[5:]) - 1 - by
    return f"{total // 12:04d}-{total % 12 + 1:02d}"


def bounds(month: str, zone: ZoneInfo) -> tuple[int, int]:
    """The month as minutes [start, end) since 1970."""
    return _first_minute(month, zone), _first_minute(earlier(month, -1), zone)


def _first_minute(month: str, zone: ZoneInfo) -> int:
    return minute_of(datetime(int(month[:4]), int(month[5:]), 1, tzinfo=zone).astimezone(UTC))
