"""Indicators for Prometheus: refreshed beside the service's work, not by a scrape."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl
from prometheus_client import Gauge

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.rolling import figures_over_windows
from closedloop.kpi.domain.windows import Window, minute_of, window_start
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.value import REGION

ALL_REGIONS: Final = "*"
"""The label of the whole; no region's code can be this."""
_LABELS: Final = ["indicator", "region"]
VALUE = Gauge("kpi_indicator_value", "Value over the gauge window, in the indicator's unit", _LABELS)
NUMERATOR = Gauge("kpi_indicator_numerator", "Numerator over the gauge window", _LABELS)
DENOMINATOR = Gauge("kpi_indicator_denominator", "Denominator over the gauge window", _LABELS)
SAMPLE = Gauge("kpi_indicator_sample", "Events that stand in the value", _LABELS)
UNNAMED = Gauge("kpi_regions_without_label", "Regions that have no label of their own because of KPI_MAX_REGION_LABELS", ["topic"])


class Gauges:
    """At most indicators × (1 + max_regions) series of each kind: the whole, and the regions with most events."""

    def __init__(self, reader: BucketReader, catalogue: Catalogue, window: Window, zone: ZoneInfo, max_regions: int) -> None:
        self._reader = reader
        self._catalogue = catalogue
        self._window = window
        self._zone = zone
        self._max_regions = max_regions

    async def refresh(self) -> None:
        """Up to the last whole minute."""
        end = minute_of(datetime.now(UTC))
        start = window_start(self._window, end, self._zone)
        figures: list[tuple[EventIndicator, pl.DataFrame]] = []
        for topic in self._catalogue.topics:
            by = (REGION,) if REGION in self._catalogue.dimensions(topic) else ()
            buckets = await self._reader.buckets(topic, self._catalogue.measures(topic), by, [(start, end)], group_by=by)
            named = self._named(topic, buckets)
            indicators = self._catalogue.on(topic)
            figures += await asyncio.to_thread(_all_figures, indicators, buckets, named, (start, end))
        for gauge in (VALUE, NUMERATOR, DENOMINATOR, SAMPLE):
            gauge.clear()
        for indicator, rows in figures:
            for row in rows.iter_rows(named=True):
                _set(indicator, row[REGION], row)

    def _named(self, topic: str, buckets: pl.DataFrame) -> list[str]:
        if REGION not in buckets.columns:
            return []
        samples = list(dict.fromkeys(indicator.sample_measure.name for indicator in self._catalogue.on(topic)))
        ranked = (
            buckets.filter(pl.col(REGION).is_not_null())
            .group_by(REGION)
            .agg(weight=pl.sum_horizontal(pl.col(samples).sum()))
            .sort(["weight", REGION], descending=[True, False])
        )
        UNNAMED.labels(topic).set(max(0, len(ranked) - self._max_regions))
        return ranked[REGION].head(self._max_regions).to_list()


def _all_figures(
    indicators: Sequence[EventIndicator], buckets: pl.DataFrame, named: Sequence[str], window: tuple[int, int]
) -> list[tuple[EventIndicator, pl.DataFrame]]:
    return [(indicator, _figures(indicator, buckets, named, window)) for indicator in indicators]


def _figures(indicator: EventIndicator, buckets: pl.DataFrame, named: Sequence[str], window: tuple[int, int]) -> pl.DataFrame:
    """The indicator's parts per region, and over all."""
    whole = figures_over_windows(buckets, (), [window], indicator.parts).with_columns(pl.lit(ALL_REGIONS).alias(REGION))
    if not named:
        return whole
    of_named = buckets.filter(pl.col(REGION).is_in(named))
    return pl.concat([whole, figures_over_windows(of_named, (REGION,), [window], indicator.parts)], how="diagonal_relaxed")


def _set(indicator: EventIndicator, region: str, figures: Mapping[str, float | None]) -> None:
    sample, numerator, denominator = figures["sample"], figures["numerator"], figures.get("denominator")
    if not sample and region != ALL_REGIONS:
        return
    SAMPLE.labels(indicator.id, region).set(sample or 0)
    if numerator is None:
        return
    NUMERATOR.labels(indicator.id, region).set(numerator)
    if denominator is not None:
        DENOMINATOR.labels(indicator.id, region).set(denominator)
    value = indicator.value(numerator, denominator)
    if value is not None:  # a gauge that is not there says that nothing is known
        VALUE.labels(indicator.id, region).set(value)
