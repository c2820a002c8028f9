"""Values and series of indicators that are computed from events."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.windows import MOST_POINTS, Window, window_start
from closedloop.kpi.value import REGION, Filters, Value


class Figures(Protocol):
    """Sums and sketches over windows."""

    async def figures(
        self,
        topic: str,
        parts: Mapping[str, Measure],
        dimensions: Sequence[str],
        windows: Sequence[tuple[int, int]],
        filters: Filters | None = None,
        group_by: Sequence[str] = (),
        most_rows: int | None = None,
    ) -> pl.DataFrame:
        """As of `BucketReader`."""
        ...


class EventValues:
    """Answers from the buckets."""

    def __init__(self, reader: Figures, catalogue: Catalogue, zone: ZoneInfo) -> None:
        self._reader = reader
        self._zone = zone
        self._kept = {topic: frozenset(catalogue.dimensions(topic)) for topic in catalogue.topics}

    def keeps_regions(self, indicator: EventIndicator) -> bool:
        """Whether its buckets can be told apart by region."""
        return REGION in self._kept[indicator.topic]

    async def value(self, indicator: EventIndicator, window: Window, end: int, filters: Filters) -> Value:
        """Over all that the filters let through."""
        (value,) = await self.series(indicator, window, [end], (), filters)
        return value

    async def series(
        self, indicator: EventIndicator, window: Window, ends: Sequence[int], group_by: Sequence[str], filters: Filters
    ) -> list[Value]:
        """One value per group and end, group by group. Raises TooManyPoints."""
        if not ends:
            return []
        windows = [(window_start(window, end, self._zone), end) for end in ends]
        dimensions = self._dimensions(indicator, {**filters, **dict.fromkeys(group_by, ())})
        figures = await self._reader.figures(
            indicator.topic, indicator.parts, dimensions, windows, filters, group_by, most_rows=MOST_POINTS
        )
        return await asyncio.to_thread(values_of, indicator, figures, windows, group_by)

    def _dimensions(self, indicator: EventIndicator, filters: Mapping[str, object]) -> tuple[str, ...]:
        """What to read: with the region always, so that one shape of the buckets serves most questions."""
        wanted = set(filters) | ({REGION} if self.keeps_regions(indicator) else set())
        return tuple(sorted(wanted))


def values_of(
    indicator: EventIndicator, figures: pl.DataFrame, windows: Sequence[tuple[int, int]], group_by: Sequence[str]
) -> list[Value]:
    """One value per group and window [start, end), in minutes, from what `figures_over_windows` says of the indicator's parts."""
    # a group's rows stand together, one a window
    groups = figures.select(group_by).gather_every(max(1, len(windows))).rows(named=True) if group_by else [{}]
    numerators, denominators = (figures.get_column(name, default=None) for name in ("numerator", "denominator"))
    values = indicator.values(numerators, denominators)
    return [
        Value(start, end, value, numerator, denominator, sample, group)
        for (group, (start, end)), value, numerator, denominator, sample in zip(
            itertools.product(groups, windows),
            values,
            numerators.fill_null(0.0).to_list(),  # a quantile of nothing is unknown
            itertools.repeat(None, len(figures)) if denominators is None else denominators.to_list(),
            figures["sample"].cast(pl.Int64).to_list(),
            strict=True,
        )
    ]
