"""Indicators for Prometheus: refreshed beside the service's work, not by a scrape."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl
from prometheus_client import Gauge

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
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
        totals: dict[str, pl.DataFrame] = {}
        for topic in self._catalogue.topics:
            by = (REGION,) if REGION in self._catalogue.dimensions(topic) else ()
            totals[topic] = await self._reader.total(topic, by, start, end)
        for gauge in (VALUE, NUMERATOR, DENOMINATOR, SAMPLE):
            gauge.clear()
        for topic, total in totals.items():
            wholes = {ALL_REGIONS: total.select(pl.col(pl.Float64).sum()).row(0, named=True)}
            for region in self._named(topic, total):
                wholes[region] = total.row(by_predicate=pl.col(REGION) == region, named=True)
            for indicator in self._catalogue.on(topic):
                for region, sums in wholes.items():
                    _set(indicator, region, sums)

    def _named(self, topic: str, total: pl.DataFrame) -> list[str]:
        if REGION not in total.columns:
            return []
        samples = list(dict.fromkeys(indicator.sample_measure.name for indicator in self._catalogue.on(topic)))
        ranked = (
            total.filter(pl.col(REGION).is_not_null())
            .select(REGION, weight=pl.sum_horizontal(samples))
            .sort(["weight", REGION], descending=[True, False])
        )
        UNNAMED.labels(topic).set(max(0, len(ranked) - self._max_regions))
        return ranked[REGION].head(self._max_regions).to_list()


def _set(indicator: EventIndicator, region: str, sums: Mapping[str, float]) -> None:
    sample = sums[indicator.sample_measure.name]
    if not sample and region != ALL_REGIONS:
        return
    numerator = sums[indicator.numerator_measure.name]
    denominator = sums[indicator.denominator_measure.name] if indicator.denominator_measure is not None else None
    SAMPLE.labels(indicator.id, region).set(sample)
    NUMERATOR.labels(indicator.id, region).set(numerator)
    if denominator is not None:
        DENOMINATOR.labels(indicator.id, region).set(denominator)
    value = indicator.value(numerator, denominator)
    if value is not None:  # a gauge that is not there says that nothing is known
        VALUE.labels(indicator.id, region).set(value)
