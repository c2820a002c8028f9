"""Use case: a control chart as it would be drawn: each period's value between centre line and limits, and what it signals."""

import asyncio
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.control import Periods, Point, chart, edges
from closedloop.kpi.domain.stating import sums_of
from closedloop.kpi.domain.thresholds import Control
from closedloop.kpi.statements import Totals


class Charts:
    """Reads the buckets anew: a late event moves the points, and never what was stated of them."""

    def __init__(self, buckets: Totals, zone: ZoneInfo) -> None:
        self._buckets = buckets
        self._zone = zone

    async def of(
        self, indicator: EventIndicator, control: Control, group: Mapping[str, str], since: int, until: int
    ) -> list[Point]:
        """The periods that end in (since, until], of one group of the chart's `by`."""
        found = edges(control, self._zone, since, until)
        if not found:
            return []
        totals = await self._buckets.totals(indicator, control.by, found[0], found[-1])
        return await asyncio.to_thread(_drawn, indicator, control, found, totals, group)


def _drawn(
    indicator: EventIndicator, control: Control, found: list[int], totals: pl.DataFrame, group: Mapping[str, str]
) -> list[Point]:
    own = totals.filter(*(pl.col(name) == code for name, code in group.items())).sort("minute")
    return chart(indicator, control, Periods(np.array(found, dtype=np.int64)), sums_of(own))
