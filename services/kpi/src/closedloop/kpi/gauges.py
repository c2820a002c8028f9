"""Indicators for Prometheus: refreshed beside the service's work, not by a scrape.

Every series has the label `indicator`. The whole has no other (`{split_by=""}` chooses it); one combination of dimensions has one
label per dimension, and `split_by` names them: `{split_by="region", region="NJ"}`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl
import structlog
from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import gauge_store as store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.entries import ALL_DIMENSIONS
from closedloop.kpi.domain.exporting import LEVELS, SAMPLE, STATE, Group, Row, exported_by, merged, within
from closedloop.kpi.domain.windows import Window, minute_of, window_start
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.value import REGION

log = structlog.get_logger()
FIGURES: Final = {
    "value": "Value over the gauge window, in the indicator's unit",
    "numerator": "Numerator over the gauge window",
    "denominator": "Denominator over the gauge window",
    SAMPLE: "Events that stand in the value",
    STATE: "0 ok, 1 pending, 2 warning, 3 critical; of the series that a threshold judges",
}
INFO_LABELS: Final = ("name_en", "name_zh", "process", "product", "unit", "owner", "collection")
SHOWN = Gauge("kpi_exported_series", "Time series kpi_indicator_… that this process shows, at most KPI_MAX_EXPORTED_SERIES")
LEFT_OUT = Gauge("kpi_exported_series_left_out", "Time series kpi_indicator_… that KPI_MAX_EXPORTED_SERIES leaves out")


class IndicatorSeries(Collector):
    """The time series as they were last `replace`d, all at once: no scrape sees half of them."""

    LABELS: Final = {
        **{f"kpi_indicator_{figure}": {"indicator", "split_by", *ALL_DIMENSIONS} for figure in FIGURES},
        "kpi_indicator_target": {"indicator"},
        "kpi_indicator_info": {"indicator", *INFO_LABELS},
    }
    """Metric → the labels that its series may have."""

    def __init__(self) -> None:
        self._families: list[GaugeMetricFamily] = []

    def replace(self, families: Iterable[GaugeMetricFamily]) -> None:
        """Show these from now on."""
        self._families = list(families)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The names alone."""
        return [GaugeMetricFamily(name, "") for name in self.LABELS]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What is shown."""
        return self._families


SERIES: Final = IndicatorSeries()
REGISTRY.register(SERIES)


class Gauges:
    """At most `most` time series for all indicators together. Reported and composed ones have a target and their names, and no
    value: their periods are days and months, which a scrape every 15 s says nothing about."""

    def __init__(self, pool: Pool, reader: BucketReader, catalogue: Catalogue, window: Window, zone: ZoneInfo, most: int) -> None:
        self._pool = pool
        self._reader = reader
        self._catalogue = catalogue
        self._window = window
        self._zone = zone
        self._most = most
        self._left_out = 0

    async def refresh(self) -> None:
        """Up to the last whole minute."""
        end = minute_of(datetime.now(UTC))
        start = window_start(self._window, end, self._zone)
        rows: list[Row] = []
        for topic in self._catalogue.topics:
            indicators = self._catalogue.on(topic)
            for by in sorted({(REGION,), *map(exported_by, indicators)}):
                total = await self._reader.total(topic, by, start, end)
                if by == (REGION,):
                    rows += _whole(indicators, total)
                # thousands of combinations take a while, and the consumer shares this loop
                rows += await asyncio.to_thread(_rows, [i for i in indicators if exported_by(i) == by], by, total)
        async with self._pool.acquire() as connection:
            standing = await store.read_standing(connection)
        rows += [
            Row(one.indicator_id, tuple(sorted(one.dimensions.items())), {STATE: LEVELS[one.level]})
            for one in standing
            if self._catalogue.counted(one.indicator_id) is not None
        ]
        named = _named(self._catalogue.indicators)
        shown, left_out = await asyncio.to_thread(within, merged(rows), self._most - sum(len(f.samples) for f in named))
        SERIES.replace([*_families(shown), *named])
        SHOWN.set(sum(len(row.figures) for row in shown) + sum(len(family.samples) for family in named))
        LEFT_OUT.set(left_out)
        if left_out != self._left_out:
            log.warning("series left out of metrics", left_out=left_out, before=self._left_out, at_most=self._most)
            self._left_out = left_out


def _whole(indicators: Iterable[EventIndicator], total: pl.DataFrame) -> Iterator[Row]:
    sums = total.select(pl.col(pl.Float64).sum()).row(0, named=True)
    return (Row(indicator.id, (), _figures(indicator, sums)) for indicator in indicators)


def _rows(indicators: Iterable[EventIndicator], by: tuple[str, ...], total: pl.DataFrame) -> list[Row]:
    """One row per indicator and combination in which something counted. Events of which a dimension is unknown are in none."""
    indicators = list(indicators)
    found: list[Row] = []
    for sums in total.drop_nulls(by).iter_rows(named=True):
        group: Group = tuple((name, sums[name]) for name in by)
        found += [Row(i.id, group, _figures(i, sums)) for i in indicators if sums[i.sample_measure.name]]
    return found


def _figures(indicator: EventIndicator, sums: Mapping[str, float]) -> dict[str, float]:
    """A figure that is not there says that nothing is known."""
    numerator = sums[indicator.numerator_measure.name]
    denominator = sums[indicator.denominator_measure.name] if indicator.denominator_measure is not None else None
    value = indicator.value(numerator, denominator)
    figures = {"value": value, "numerator": numerator, "denominator": denominator, SAMPLE: sums[indicator.sample_measure.name]}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _families(rows: Iterable[Row]) -> list[GaugeMetricFamily]:
    families = {figure: GaugeMetricFamily(f"kpi_indicator_{figure}", about) for figure, about in FIGURES.items()}
    for row in rows:
        labels = {"indicator": row.indicator_id, **dict(row.group)}
        if row.group:
            labels["split_by"] = ",".join(name for name, _ in row.group)
        for figure, number in row.figures.items():
            families[figure].add_sample(f"kpi_indicator_{figure}", labels, number)
    return list(families.values())


def _named(indicators: Iterable[Indicator]) -> list[GaugeMetricFamily]:
    """Names and targets."""
    info = GaugeMetricFamily("kpi_indicator_info", "1; its labels say what the indicator is called and whose it is")
    target = GaugeMetricFamily("kpi_indicator_target", "What a month should reach, in the indicator's unit")
    for indicator in indicators:
        said = {name: getattr(indicator, name) or "" for name in INFO_LABELS}
        info.add_sample("kpi_indicator_info", {"indicator": indicator.id, **said}, 1)
        if indicator.target is not None:
            target.add_sample("kpi_indicator_target", {"indicator": indicator.id}, indicator.target)
    return [info, target]
