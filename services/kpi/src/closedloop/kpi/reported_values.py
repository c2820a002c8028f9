"""Values and series of indicators that are reported."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.reported import Answer, Known, Sums
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints, Window, window_start
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.value import Filters, Value


class ReportedValues:
    """Answers from what was reported, as it was known at `as_of` (None: now)."""

    def __init__(self, measurements: Measurements, zone: ZoneInfo) -> None:
        self._measurements = measurements
        self._zone = zone

    async def value(
        self, indicator: ReportedIndicator, window: Window, end: int, filters: Filters, as_of: datetime | None
    ) -> Value:
        """Over all that the filters let through."""
        start = window_start(window, end, self._zone)
        known = await self._measurements.known(indicator, start, end, filters, as_of)
        return _value(start, end, Answer(indicator, known).over(start, end), {})

    async def series(
        self,
        indicator: ReportedIndicator,
        window: Window,
        ends: Sequence[int],
        group_by: Sequence[str],
        filters: Filters,
        as_of: datetime | None,
    ) -> list[Value]:
        """One value per group and end, group by group. Raises TooManyPoints."""
        if not ends:
            return []
        windows = [(window_start(window, end, self._zone), end) for end in ends]
        known = await self._measurements.known(indicator, min(start for start, _ in windows), max(ends), filters, as_of)
        groups: dict[tuple[str, ...], list[Known]] = {} if group_by else {(): []}
        for one in known:
            if all(name in one.dimensions for name in group_by):
                groups.setdefault(tuple(one.dimensions[name] for name in group_by), []).append(one)
        if group_by and len(groups) * len(ends) > MOST_POINTS:
            raise TooManyPoints
        found = []
        for codes, figures in sorted(groups.items(), key=lambda group: group[0]):
            answer, group = Answer(indicator, figures), dict(zip(group_by, codes, strict=True))
            found += [_value(start, end, answer.over(start, end), group) for start, end in windows]
        return found


def _value(start: int, end: int, sums: Sums, group: Mapping[str, str | None]) -> Value:
    return Value(start, end, sums.value, sums.numerator, sums.denominator, sums.sample, group, sums.note)
