"""What a changed or new entry would have said of last month, before it is saved."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.postgres.pool import Pool
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.domain.backtest import Breach
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.months import bounds, earlier, month_of
from closedloop.kpi.domain.report import Amount, Judgement, Month, judged
from closedloop.kpi.domain.rolling import figures_over_windows
from closedloop.kpi.domain.windows import minute_of, time_of
from closedloop.kpi.event_values import EventValues, values_of
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.replay import Replayed, replay
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.kpi.value import Value
from closedloop.kpi.values import Values

CACHE_BYTES = 32 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Outcome:
    """An entry's month: its figure, how it is judged, and the breaches that its threshold and control chart would have raised."""

    amount: Amount
    judgement: Judgement
    breaches: Sequence[Breach]


@dataclass(frozen=True, slots=True)
class Effect:
    """Last month by the entry in force (None where there is none) and by the one that may be saved.

    `read`: from where the new one's figures come; `records`: how many were read again from the topic, all of them where `is_whole`;
    `kept_from`: since when the topic has them, where that is not the whole month.
    """

    month: Month
    before: Outcome | None
    after: Outcome
    read: Literal["kept", "topic"]
    records: int = 0
    is_whole: bool = True
    kept_from: datetime | None = None


class Effects:
    """Computes effects; nothing is written."""

    def __init__(self, pool: Pool, kafka: KafkaSettings, settings: KpiSettings, zone: ZoneInfo) -> None:
        self._pool = pool
        self._kafka = kafka
        self._settings = settings
        self._zone = zone

    async def of(self, indicator: Indicator, wanted: Catalogue, in_force: Catalogue) -> Effect:
        """`wanted`: the catalogue with the new entry. Raises KafkaError or TimeoutError where the topic must be read again."""
        month = earlier(month_of(minute_of(datetime.now(UTC)), self._zone), 1)
        current = in_force.get(indicator.id)
        before = None if current is None else await self._kept(current, in_force, month)
        if not isinstance(indicator, EventIndicator) or is_counted(indicator, in_force):
            return Effect(month, before, await self._kept(indicator, wanted, month), "kept")
        start, end = bounds(month, self._zone)
        settings = self._settings
        replayed = await replay(
            self._kafka, indicator, time_of(start), time_of(end), settings.retention, settings.dissatisfied_below
        )
        after = await self._replayed(indicator, replayed, start, end)
        return Effect(month, before, after, "topic", replayed.records, replayed.is_whole, replayed.kept_from)

    async def _kept(self, indicator: Indicator, catalogue: Catalogue, month: Month) -> Outcome:
        start, end = bounds(month, self._zone)
        reader = BucketReader(self._pool, catalogue, CACHE_BYTES, self._zone)
        reported = ReportedValues(Measurements(self._pool, self._zone), self._zone)
        values = Values(EventValues(reader, catalogue, self._zone), reported, catalogue)
        [value] = await values.series(indicator, "month", [end], (), {})
        breaches: Sequence[Breach] = ()
        if isinstance(indicator, EventIndicator):
            breaches = await self._breaches(Backtests(self._pool, reader, self._zone), indicator, start, end)
        return _outcome(indicator, value, breaches)

    async def _replayed(self, indicator: EventIndicator, replayed: Replayed, start: int, end: int) -> Outcome:
        figures = await asyncio.to_thread(figures_over_windows, [replayed.buckets], (), [(start, end)], indicator.parts)
        [value] = values_of(indicator, figures, [(start, end)], ())
        breaches = await self._breaches(Backtests(self._pool, replayed, self._zone), indicator, start, end)
        return _outcome(indicator, value, breaches)

    async def _breaches(self, backtests: Backtests, indicator: EventIndicator, start: int, end: int) -> Sequence[Breach]:
        rules = [rule for rule in (indicator.threshold, indicator.control) if rule is not None]
        return (await backtests.run(indicator, rules, start, end, None)).raised if rules else ()


def is_counted(indicator: EventIndicator, catalogue: Catalogue) -> bool:
    """Whether events are counted for its formula and dimensions already."""
    if indicator.topic not in catalogue.topics:
        return False
    measures = {measure.name for measure in catalogue.measures(indicator.topic)}
    dimensions = set(catalogue.dimensions(indicator.topic))
    return {measure.name for measure in indicator.measures} <= measures and set(indicator.dimensions) <= dimensions


def _outcome(indicator: Indicator, value: Value, breaches: Sequence[Breach]) -> Outcome:
    return Outcome(value.amount, judged(indicator, value.amount), breaches)
