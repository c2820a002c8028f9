"""Values and series of indicators that are computed from events."""

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.rolling import over_windows
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints, Window, window_start
from closedloop.kpi.reading import HOUR, BucketReader, quantities
from closedloop.kpi.value import REGION, Filters, Value


class EventValues:
    """Answers from the buckets."""

    def __init__(self, reader: BucketReader, catalogue: Catalogue, zone: ZoneInfo) -> None:
        self._reader = reader
        self._zone = zone
        self._kept = {topic: frozenset(catalogue.dimensions(topic)) for topic in catalogue.topics}

    def keeps_regions(self, indicator: EventIndicator) -> bool:
        """Whether its buckets can be told apart by region."""
        return REGION in self._kept[indicator.topic]

    async def value(self, indicator: EventIndicator, window: Window, end: int, filters: Filters) -> Value:
        """The sum over all that the filters let through."""
        start = window_start(window, end, self._zone)
        total = await self._reader.total(indicator.topic, self._dimensions(indicator, filters), start, end)
        sums = quantities(_filtered(total, filters), indicator, ()).sum()
        return _value(indicator, start, end, sums.row(0, named=True), {})

    async def series(
        self, indicator: EventIndicator, window: Window, ends: Sequence[int], group_by: Sequence[str], filters: Filters
    ) -> list[Value]:
        """One value per group and end, group by group. Raises TooManyPoints."""
        if not ends:
            return []
        windows = [(window_start(window, end, self._zone), end) for end in ends]
        first, last = min(start for start, _ in windows), max(ends)
        grain = HOUR if all(edge % HOUR == 0 for pair in windows for edge in pair) else 1
        dimensions = self._dimensions(indicator, {**filters, **dict.fromkeys(group_by, ())})
        buckets = _filtered(await self._reader.sums(indicator.topic, dimensions, first, last, grain), filters)
        sums = quantities(buckets, indicator, (*group_by, MINUTE)).filter(pl.col("sample") != 0)
        if group_by and sums.select(group_by).n_unique() * len(ends) > MOST_POINTS:
            raise TooManyPoints
        rolled = over_windows(sums, group_by, windows)
        found = []
        for row in rolled.iter_rows(named=True):
            start, end = windows[row["window"]]
            found.append(_value(indicator, start, end, row, {name: row[name] for name in group_by}))
        return found

    def _dimensions(self, indicator: EventIndicator, filters: Mapping[str, object]) -> tuple[str, ...]:
        """What to read: with the region always, so that one shape of the buckets serves most questions."""
        wanted = set(filters) | ({REGION} if self.keeps_regions(indicator) else set())
        return tuple(sorted(wanted))


def _filtered(sums: pl.DataFrame, filters: Filters) -> pl.DataFrame:
    return sums.filter([pl.col(name).is_in(list(values)) for name, values in filters.items()]) if filters else sums


def _value(indicator: EventIndicator, start: int, end: int, sums: Mapping[str, float], group: Mapping[str, str | None]) -> Value:
    numerator, denominator = sums["numerator"], sums.get("denominator")
    value = indicator.value(numerator, denominator)
    return Value(start, end, value, numerator, denominator, int(sums["sample"]), group)
