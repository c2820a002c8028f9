"""What changed or new entries would have said of last month, before they are saved."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import counted_store
from closedloop.kpi.backtests import Backtests, Rule
from closedloop.kpi.domain.backtest import Backtest, Breach, Levels
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.counted import counted_from
from closedloop.kpi.domain.measures import Measure
from closedloop.kpi.domain.months import bounds, earlier, month_of
from closedloop.kpi.domain.period_states import window_within
from closedloop.kpi.domain.report import Amount, Judgement, Month, judged
from closedloop.kpi.domain.windows import minute_of, time_of
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.replay import Replayed, replay
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.kpi.value import Filters
from closedloop.kpi.values import Values

CACHE_BYTES = 32 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Outcome:
    """An entry's month: its figure, how it is judged, and the breaches that its threshold and control chart would have raised."""

    amount: Amount
    judgement: Judgement
    breaches: Sequence[Breach]
    counted_from: datetime | None = None
    """Since when it is counted, where that is not the whole month."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Last month by the entry in force (None where there is none) and by the one that may be saved.

    `read`: from where the new one's figures come; `records`: how many were read again from the topic, all of them where
    `is_whole`; `kept_from`: since when the topic has them, where that is not all that was wanted; `read_from`: the event time
    from which they were counted, before the month where windows and baselines reach back.
    """

    month: Month
    before: Outcome | None
    after: Outcome
    read: Literal["kept", "topic"]
    records: int = 0
    is_whole: bool = True
    kept_from: datetime | None = None
    read_from: datetime | None = None


class Effects:
    """Computes effects; nothing is written."""

    def __init__(self, pool: Pool, kafka: KafkaSettings, settings: KpiSettings, zone: ZoneInfo) -> None:
        self._pool = pool
        self._kafka = kafka
        self._settings = settings
        self._zone = zone
        self._one = asyncio.Semaphore(1)

    async def of(self, indicators: Sequence[Indicator], wanted: Catalogue, in_force: Catalogue) -> list[Effect]:
        """Of each; one question at a time. `wanted`: the catalogue with all of them. Raises KafkaError or TimeoutError where a
        topic must be read again, TooManySeries, TooManyPoints."""
        async with self._one:
            return await self._of(indicators, wanted, in_force)

    async def _of(self, indicators: Sequence[Indicator], wanted: Catalogue, in_force: Catalogue) -> list[Effect]:
        month = earlier(month_of(minute_of(datetime.now(UTC)), self._zone), 1)
        start = time_of(bounds(month, self._zone)[0])
        async with self._pool.acquire() as connection:
            counted = await counted_store.read(connection)
        needed = {id_ for indicator in indicators for id_ in indicator.sources}
        uncounted: dict[str, list[EventIndicator]] = {}
        for one in wanted.from_events:
            since = counted_from(one, counted, wanted)
            if one.id in needed and since is not None and since > start:
                uncounted.setdefault(one.topic, []).append(one)
        replayed: dict[str, Replayed] = {}
        for topic, own in list(uncounted.items()):
            found = await self._replay(topic, own, month)
            kept_since = max(counted_from(one, counted, wanted) or start for one in own)
            if found.is_whole or kept_since > (found.kept_from or start):
                replayed[topic] = found
            else:
                del uncounted[topic]  # the topic has not more than what is kept
        now = _Tried(BucketReader(self._pool, wanted, CACHE_BYTES, self._zone), replayed)
        before = _Tried(BucketReader(self._pool, in_force, CACHE_BYTES, self._zone), {})
        effects: list[Effect] = []
        for indicator in indicators:
            current = in_force.get(indicator.id)
            was = None if current is None else await self._outcome(current, in_force, before, month)
            if was is not None and current is not None:
                was = replace(was, counted_from=_later(counted_from(current, counted, in_force), start))
            becomes = await self._outcome(indicator, wanted, now, month)
            read = [replayed[topic] for topic in _read_again_for(indicator, uncounted)]
            if not read:
                becomes = replace(becomes, counted_from=_later(counted_from(indicator, counted, wanted), start))
            effects.append(
                Effect(
                    month,
                    was,
                    becomes,
                    "topic" if read else "kept",
                    sum(one.records for one in read),
                    all(one.is_whole for one in read),
                    max((one.kept_from for one in read if one.kept_from is not None), default=None),
                    max((one.since for one in read), default=None),
                )
            )
        return effects

    async def _replay(self, topic: str, indicators: Sequence[EventIndicator], month: Month) -> Replayed:
        """With what comes before the month, as far as windows and baselines reach."""
        start, end = bounds(month, self._zone)
        rules = [(one, rule) for one in indicators for rule in (one.threshold, one.control) if rule is not None]
        lead = min((Backtest(one, rule, self._zone, start, end).rounds[0].reads_from for one, rule in rules), default=start)
        settings = self._settings
        first, begin, after = (time_of(minute) for minute in (min(lead, start), start, end))
        return await replay(self._kafka, topic, indicators, first, begin, after, settings.retention, settings.dissatisfied_below)

    async def _outcome(self, indicator: Indicator, catalogue: Catalogue, reader: "_Tried", month: Month) -> Outcome:
        start, end = bounds(month, self._zone)
        reported = ReportedValues(Measurements(self._pool, self._zone), self._zone)
        values = Values(EventValues(reader, catalogue, self._zone), reported, catalogue)
        window, until = window_within(indicator, end, self._zone)
        [value] = await values.series(indicator, window, [until], (), {})
        backtests = Backtests(self._pool, reader, values, self._zone)
        breaches = await backtests.raised(indicator, _rules(indicator), start, end)
        return Outcome(value.amount, judged(indicator, value.amount), breaches)


class _Tried:
    """The buckets that are kept; and, for formulas that are not counted for the whole month, those that were read again."""

    def __init__(self, kept: BucketReader, replayed: Mapping[str, Replayed]) -> None:
        self._kept = kept
        self._replayed = replayed

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        source = self._read_again(indicator.topic, indicator.parts, group_by) or self._kept
        return await source.totals(indicator, group_by, from_minute, to_minute)

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
        again = self._read_again(topic, parts, dimensions)
        if again is not None and not filters:
            return await again.figures(parts, windows, group_by)
        return await self._kept.figures(topic, parts, dimensions, windows, filters, group_by, most_rows)

    def _read_again(self, topic: str, parts: Mapping[str, Measure], dimensions: Sequence[str]) -> Replayed | None:
        replayed = self._replayed.get(topic)
        needed = {*dimensions, *(measure.name for measure in parts.values())}
        return replayed if replayed is not None and needed <= set(replayed.buckets.columns) else None


def _rules(indicator: Indicator) -> list[Rule]:
    """What judges it as events come, or by its periods."""
    if indicator.is_judged_by_period:
        return [Levels(indicator.warning, indicator.critical)]
    if not isinstance(indicator, EventIndicator):
        return []
    return [rule for rule in (indicator.threshold, indicator.control) if rule is not None]


def _read_again_for(indicator: Indicator, uncounted: Mapping[str, Sequence[EventIndicator]]) -> list[str]:
    """The topics that must be read again for it, or for its parts."""
    return [topic for topic, own in uncounted.items() if any(one.id in indicator.sources for one in own)]


def _later(since: datetime | None, start: datetime) -> datetime | None:
    return since if since is not None and since > start else None


def is_counted(indicator: EventIndicator, catalogue: Catalogue) -> bool:
    """Whether events are counted for its formula and dimensions already."""
    if indicator.topic not in catalogue.topics:
        return False
    measures = {measure.name for measure in catalogue.measures(indicator.topic)}
    dimensions = set(catalogue.dimensions(indicator.topic))
    return {measure.name for measure in indicator.measures} <= measures and set(indicator.dimensions) <= dimensions
