"""Indicators for Prometheus, and who does nothing about what falls short: refreshed beside the service's work, not by a scrape.

Every series has the label `indicator`. The whole has no other (`{split_by=""}` chooses it); one combination of dimensions has one
label per dimension, and `split_by` names them: `{split_by="region", region="NJ"}`.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from closedloop.kpi.domain.exporting import (
    ESCALATIONS,
    LEVELS,
    QUIET,
    SAMPLE,
    STATE,
    Group,
    Row,
    exported_by,
    is_alarming,
    merged,
    shows_state,
    within,
)
from closedloop.kpi.domain.windows import Window, minute_of, window_start
from closedloop.kpi.period_figures import PeriodFigures
from closedloop.kpi.reading import BucketReader

log = structlog.get_logger()
FIGURES: Final = {
    "value": "Value over the gauge window, in the indicator's unit; of what is reported or composed, that of its last period",
    "numerator": "Numerator over the gauge window, or of the last period",
    "denominator": "Denominator over the gauge window, or of the last period",
    SAMPLE: "Events, or reported figures, that stand in the value",
    STATE: "0 ok, 1 pending, 2 warning, 3 critical; of what is judged by a period, the whole, and the regions that are not ok",
    QUIET: "1 where a breach stands that nobody need be told of: it is acknowledged, muted, silenced, or its parent's",
    ESCALATIONS: "How often a breach that stands was said again, as nobody has acknowledged it",
}
By = tuple[str, ...]
Sums = tuple[Sequence[EventIndicator], pl.DataFrame]
"""Indicators that are told apart alike, and their topic's sums and estimates per combination in which every dimension is known."""
INFO_LABELS: Final = ("name_en", "name_zh", "process", "product", "unit", "owner", "collection")
SHOWN = Gauge("kpi_exported_series", "Time series kpi_indicator_… that this process shows, at most KPI_MAX_EXPORTED_SERIES")
CACHE_BYTES = Gauge("kpi_bucket_cache_bytes", "Memory that buckets at hand take, at most KPI_BUCKET_CACHE_MB")
SHORT = Gauge("kpi_shortcomings_open", "Indicators that fall short in published reports", ["unit"])
NEGLECTED = Gauge("kpi_shortcomings_without_measure", "Of these, those on which nobody works", ["unit"])
OVERDUE = Gauge("kpi_improvements_overdue", "Measures that are open, and whose day is over", ["unit"])
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
    """At most `most` time series for all indicators together."""

    def __init__(
        self,
        pool: Pool,
        reader: BucketReader,
        of_periods: PeriodFigures,
        catalogue: Catalogue,
        window: Window,
        zone: ZoneInfo,
        most: int,
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._of_periods = of_periods
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
        sums: dict[By, list[Sums]] = {}
        for topic in self._catalogue.topics:
            indicators = self._catalogue.on(topic)
            measures = {measure.name: measure for indicator in indicators for measure in indicator.measures}
            for by in sorted({(), *map(exported_by, indicators)}):
                total = await self._reader.figures(topic, measures, by, [(start, end)], group_by=by)
                if not by:
                    rows += _whole(indicators, total)
                own = [indicator for indicator in indicators if exported_by(indicator) == by]
                if own and by:
                    sums.setdefault(by, []).append((own, total.drop_nulls(by)))
        rows += await self._of_periods.rows(end)
        async with self._pool.acquire() as connection:
            standing = await store.read_standing(connection)
            followed = await store.read_followed(connection, datetime.now(self._zone).date())
        rows += [
            Row(one.indicator_id, tuple(sorted(one.dimensions.items())), _standing(one))
            for one in standing
            if (indicator := self._catalogue.get(one.indicator_id)) is not None
            and shows_state(indicator, one.dimensions, one.level)
        ]
        named = _named(self._catalogue.indicators)
        # thousands of combinations take a while, and the consumer shares this loop
        shown, left_out = await asyncio.to_thread(_shown, rows, sums, self._most - sum(len(family.samples) for family in named))
        families = [*_families(shown), *named]
        SERIES.replace(families)
        self._tell(followed)
        CACHE_BYTES.set(self._reader.cache.nbytes)
        SHOWN.set(sum(len(family.samples) for family in families))
        LEFT_OUT.set(left_out)
        if left_out != self._left_out:
            log.warning("series left out of metrics", left_out=left_out, before=self._left_out, at_most=self._most)
            self._left_out = left_out

    def _tell(self, followed: Iterable[store.Followed]) -> None:
        """By the unit that answers for the indicator; what the catalogue has no longer is nobody's."""
        numbers: dict[Gauge, Tally[str]] = {SHORT: Tally(), NEGLECTED: Tally(), OVERDUE: Tally()}
        for one in followed:
            indicator = self._catalogue.get(one.indicator_id)
            owner = "nobody" if indicator is None else indicator.owner
            for gauge, number in ((SHORT, one.is_short), (NEGLECTED, one.needs_measure), (OVERDUE, one.overdue)):
                numbers[gauge][owner] += int(number)
        for gauge, by_owner in numbers.items():
            gauge.clear()
            for owner, number in by_owner.items():
                if number:
                    gauge.labels(owner).set(number)


def _shown(rows: list[Row], sums: Mapping[By, Sequence[Sums]], most: int) -> tuple[list[Row], int]:
    """The rows that are shown, those of the combinations added, and how many series are left out. However many combinations there
    are, only as many are made into rows as could be shown."""
    alarming = {row.group for row in rows if is_alarming(row)}
    rows, never = list(rows), 0
    for by, parts in sums.items():
        kept = _foremost(
            by, parts, [dict(group) for group in alarming if tuple(name for name, _ in group) == by], max(0, most // 3)
        )
        for indicators, total in parts:
            rows += _rows(indicators, by, total.join(kept, on=by, how="semi"))
            never += sum(_series_in(indicator, total.join(kept, on=by, how="anti")) for indicator in indicators)
    shown, left_out = within(merged(rows), most)
    return shown, left_out + never


def _foremost(by: By, parts: Sequence[Sums], alarming: Sequence[Mapping[str, str]], most: int) -> pl.DataFrame:
    """The combinations in the order in which `within` shows them, so many; each is at least three series."""
    weight = "·events"  # no dimension's name
    events = [
        total.select(*by, pl.sum_horizontal(indicator.sample_measure.name for indicator in indicators).alias(weight))
        for indicators, total in parts
    ]
    standing = pl.DataFrame(alarming, schema=dict.fromkeys(by, pl.String)).with_columns(pl.lit(float("inf")).alias(weight))
    together = pl.concat([*events, standing]).group_by(by).agg(pl.col(weight).sum())
    return together.sort([weight, *by], descending=[True, *(False for _ in by)]).head(most)


def _series_in(indicator: EventIndicator, total: pl.DataFrame) -> int:
    """How many series `_rows` would make of it."""
    counted = total.filter(pl.col(indicator.sample_measure.name) != 0)
    if indicator.denominator_measure is None:
        return 3 * len(counted)
    return 3 * len(counted) + len(counted.filter(pl.col(indicator.denominator_measure.name) != 0))


def _whole(indicators: Iterable[EventIndicator], total: pl.DataFrame) -> Iterator[Row]:
    figures = total.row(0, named=True)
    return (Row(indicator.id, (), _figures(indicator, figures)) for indicator in indicators)


def _rows(indicators: Sequence[EventIndicator], by: By, total: pl.DataFrame) -> list[Row]:
    """One row per indicator and combination in which something counted."""
    found: list[Row] = []
    for sums in total.iter_rows(named=True):
        group: Group = tuple((name, sums[name]) for name in by)
        found += [Row(i.id, group, _figures(i, sums)) for i in indicators if sums[i.sample_measure.name]]
    return found


def _figures(indicator: EventIndicator, sums: Mapping[str, float | None]) -> dict[str, float]:
    """A figure that is not there says that nothing is known."""
    numerator = sums[indicator.numerator_measure.name]
    denominator = sums[indicator.denominator_measure.name] if indicator.denominator_measure is not None else None
    value = None if numerator is None else indicator.value(numerator, denominator)
    figures = {"value": value, "numerator": numerator, "denominator": denominator, SAMPLE: sums[indicator.sample_measure.name]}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _standing(one: store.Standing) -> dict[str, float]:
    """The state; and of a breach, where it is so, that nobody need be told of it, and how often it was said again."""
    told = {QUIET: float(one.is_quiet), ESCALATIONS: float(one.escalations)}
    return {STATE: LEVELS[one.level], **{figure: number for figure, number in told.items() if number}}


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
