"""Use case: state, once per minute of event time, how series stand against thresholds and control charts."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import polars as pl
import structlog

from closedloop.common.consumer.failures import Kind as FailureKind
from closedloop.common.consumer.failures import classify
from closedloop.common.consumer.frontier import ReadFrontier
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import saying
from closedloop.kpi import statement_store as store
from closedloop.kpi.domain import stating
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.control import edges as control_edges
from closedloop.kpi.domain.statement import EPOCH, Series, Statement, withdrawal_of
from closedloop.kpi.domain.stating import Watch
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.masking import Masking

log = structlog.get_logger()
INTERVAL_S: Final = 2.0
BACKOFF_MAX_S: Final = 10.0


class Totals(Protocol):
    """An indicator's sums per minute."""

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        """One row per group and minute in [from, to) that has events: the dimensions of `group_by`, `minute` (since 1970),
        `numerator`, `denominator` (absent for counts and sums) and `sample`."""
        ...


class Buckets(Totals, Protocol):
    """The minute buckets, as statements read them."""

    async def contents(self, topic: str) -> Mapping[int, str]:
        """UTC day since 1970 → a text that changes whenever the day's sums do (the number of events in them), where it has any."""
        ...


class Statements:
    """Makes the statements, topic by topic. Several processes may run it: a round is written by whoever is first."""

    def __init__(
        self,
        pool: Pool,
        frontier: ReadFrontier,
        catalogue: Catalogue,
        buckets: Buckets,
        zone: ZoneInfo,
        said: Callable[[], None] = lambda: None,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """`frontier` tells a topic's; `zone` is the operator's; `said` is called after statements were
        committed: the relay need not wait for its poll."""
        self._pool = pool
        self._frontier = frontier
        self._catalogue = catalogue
        self._buckets = buckets
        self._zone = zone
        self._said = said
        self._interval_s = interval_s
        self._stopping = asyncio.Event()
        # topic → the minute at which its last round ended: until the frontier is at another one, there is nothing to do
        self._reached: dict[str, int] = {}

    def stop(self) -> None:
        """End `run` after the round in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """State until `stop`; outages are waited out."""
        attempt = 0
        while not self._stopping.is_set():
            delay = self._interval_s
            try:
                is_behind = await self.state_all()
                attempt = 0
                delay = 0.0 if is_behind else delay
            except Exception as error:
                if classify(error) is FailureKind.BUG:
                    raise
                attempt += 1
                log.warning("statements wait", error=type(error).__name__, attempt=attempt)
                delay = min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 10))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def state_all(self) -> bool:
        """One round of each topic. True where one of them has not reached its frontier."""
        # also those on which no indicator stands any more: what was said about them must end
        behind = [topic for topic in SCHEMA if await self.state_topic(topic)]
        return bool(behind)

    async def state_topic(self, topic: str) -> bool:
        """One round. The frontier is read first, then what the days hold, then the buckets: what comes in meanwhile is the next
        round's. Nothing is locked while it thinks."""
        frontier = await self._frontier(topic)
        if frontier is None:
            return False
        upto = (frontier - EPOCH) // timedelta(minutes=1)
        if self._reached.get(topic) == upto:
            return False
        contents = await self._buckets.contents(topic)
        watched = {watch.name: watch for watch in stating.watches(self._catalogue.on(topic))}
        async with self._pool.acquire() as connection:
            progress = await store.read_progress(connection, topic, [watch.indicator.id for watch in watched.values()])
        changed = [day for day, content in contents.items() if progress.finished_days.get(day) != content]
        stated = {key: series for key, series in progress.series.items() if _is_watched(series, watched)}
        withdrawn = [series for key, series in progress.series.items() if key not in stated]
        lagging = [
            (series, rule)
            for series in stated.values()
            if series.stated_until < upto and isinstance(rule := watched[series.watch].by_rule, Threshold)
        ]
        round_ = stating.plan(contents, changed, lagging, upto)
        finished = {day: contents[day] for day in round_.finished_days if day in changed}
        moved, made = await self._state(round_, watched, stated, finished)
        moved = [series for series in moved if series.key not in progress.elsewhere]
        made = [statement for statement in made if statement.series not in progress.elsewhere]
        made += [withdrawal_of(series, max(upto, series.stated_until + 1)) for series in withdrawn if series.is_breached]
        made.sort(key=lambda statement: (statement.end, statement.series))
        gone = [day for day in progress.finished_days if day not in contents]
        async with self._pool.acquire() as connection, connection.transaction():
            if not await saying.write(connection, topic, progress, moved, withdrawn, made):
                return True  # another process wrote this round; look again
            await store.write_days(connection, topic, finished, gone)
        standing = stated | {series.key: series for series in moved}
        saying.tell(topic, round_.upto, [watch.indicator for watch in watched.values()], standing.values(), made)
        if made:
            self._said()
        if round_.is_last:
            self._reached[topic] = upto
        return not round_.is_last

    async def _state(
        self, round_: stating.Round, watched: Mapping[str, Watch], stated: Mapping[str, Series], finished: Collection[int]
    ) -> tuple[list[Series], list[Statement]]:
        """The series that moved in this round, and what is to be said; parents first."""
        since = min([series.stated_until for series in stated.values()] + [day * stating.DAY for day in round_.days[:1]], default=0)
        masking = Masking(self._pool, self._catalogue, self._zone, since, round_.upto)
        await masking.read_silences()
        moved: list[Series] = []
        made: list[Statement] = []
        for watch in watched.values():
            known = {key: series for key, series in stated.items() if series.watch == watch.name}
            masks_of = await masking.over(watch, made)
            # thousands of series take a while, and the consumer shares this loop
            if isinstance(watch.by_rule, Threshold):
                parts = [await self._buckets.totals(watch.indicator, watch.by_rule.by, *minutes) for minutes in round_.ranges]
                some = await asyncio.to_thread(
                    stating.state, watch.indicator, watch.by_rule, _joined(parts, watch), known, round_.upto, masks_of
                )
            else:
                some = await self._state_charts(watch.indicator, watch.by_rule, known, round_.upto, finished, masks_of)
            moved += some[0]
            made += some[1]
        return moved, made

    async def _state_charts(
        self,
        indicator: EventIndicator,
        control: Control,
        known: Mapping[str, Series],
        upto: int,
        finished: Collection[int],
        masks_of: stating.MasksOf,
    ) -> tuple[list[Series], list[Statement]]:
        """By the chart. Buckets are read only where a period ended since the series were stated, or on a day that is looked at for
        the last time: a series never seen may begin there."""
        began = [series.stated_until for series in known.values() if series.stated_until < upto]
        edges = control_edges(control, self._zone, min([*began, *(day * stating.DAY for day in finished)], default=upto), upto)
        parts = [await self._buckets.totals(indicator, control.by, edges[0], edges[-1])] if edges else []
        totals = _joined(parts, Watch(indicator, control))
        return await asyncio.to_thread(stating.state_charts, indicator, control, self._zone, edges, totals, known, upto, masks_of)


def _is_watched(series: Series, watched: Mapping[str, Watch]) -> bool:
    """Whether the catalogue still judges it so, by the same dimensions."""
    return series.watch in watched and set(watched[series.watch].by_rule.by) == series.dimensions.keys()


def _joined(totals: Sequence[pl.DataFrame], watch: Watch) -> pl.DataFrame:
    if totals:
        return pl.concat(totals)
    quantities = ("numerator", "sample") if watch.indicator.denominator is None else ("numerator", "denominator", "sample")
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(watch.by_rule.by, pl.String) | {"minute": pl.Int64}
    return pl.DataFrame(schema=schema | dict.fromkeys(quantities, pl.Float64))
