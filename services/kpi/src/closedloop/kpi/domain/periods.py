"""Periods for which figures are reported: whole days, months, quarters and years of the operator's calendar."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.catalogue import Granularity
from closedloop.kpi.domain.windows import minute_of

EARLIEST: Final = date(2000, 1, 1)
EXAMPLES: Final[dict[Granularity, str]] = {"day": "2026-10-05", "month": "2026-10", "quarter": "2026-Q3", "year": "2026"}
"""How a period of each length is written."""
_WRITTEN: Final[dict[Granularity, re.Pattern[str]]] = {
    "day": re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)\Z", re.ASCII),
    "month": re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)\Z", re.ASCII),
    "quarter": re.compile(r"(?P<year>\d{4})-Q(?P<quarter>[1-4])\Z", re.ASCII),
    "year": re.compile(r"(?P<year>\d{4})\Z", re.ASCII),
}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` up to `after`, which is the next period's first. `text` is how it is written."""

    text: str
    first: date
    after: date

    def minutes(self, zone: ZoneInfo) -> tuple[int, int]:
        """[start, end) in whole minutes since 1970."""
        return minute_of(datetime.combine(self.first, time(), zone)), minute_of(datetime.combine(self.after, time(), zone))


def period_of(text: str, granularity: Granularity) -> Period:
    """The period of this length that a text says. ValueError says in words how it is written."""
    match = _WRITTEN[granularity].match(text)
    if match is None:
        raise ValueError(f"must be a {granularity} such as {EXAMPLES[granularity]}, not `{text[:40]}`")
    parts = match.groupdict()
    month = (int(parts["quarter"]) - 1) * 3 + 1 if "quarter" in parts else int(parts.get("month", 1))
    try:
        first = date(int(parts["year"]), month, int(parts.get("day", 1)))
        after = first + timedelta(days=1) if granularity == "day" else _later(first, _MONTHS[granularity])
    except (ValueError, OverflowError):
        raise ValueError(f"`{text}` is no {granularity} of the calendar") from None
    if first < EARLIEST:
        raise ValueError(f"`{text}` is before {EARLIEST.year}")
    return Period(text, first, after)


def _later(first: date, months: int) -> date:
    count = first.year * 12 + first.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)
