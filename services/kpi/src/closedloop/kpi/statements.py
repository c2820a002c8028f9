"""Use case: state, once per minute of event time, which series breach their thresholds and which no longer do."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

import polars as pl
import structlog
from prometheus_client import Counter, Gauge

from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.consumer.failures import Kind as FailureKind
from closedloop.common.consumer.failures import classify
from closedloop.common.consumer.frontier import ReadFrontier
from closedloop.common.events.model import IndicatorBreached, IndicatorRecovered
from closedloop.common.outbox.store import Outgoing, own_event, put
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import statement_store as store
from closedloop.kpi.domain import stating
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.statement import EPOCH, Series, Statement, withdrawal_of
from closedloop.kpi.domain.thresholds import Threshold

log = structlog.get_logger()
SOURCE: Final = "/closedloop/kpi"
INTERVAL_S: Final = 2.0
BACKOFF_MAX_S: Final = 10.0

STATEMENTS = Counter("kpi_statements", "Statements made about indicators", ["indicator", "kind"])
BREACHED = Gauge("kpi_breached_series", "Series that stand breached", ["indicator"])
STATED_UNTIL = Gauge("kpi_stated_until_seconds", "Event time up to which statements were made", ["topic"])


class Buckets(Protocol):
    """The minute buckets, as statements read them."""

    async def contents(self, topic: str) -> Mapping[int, str]:
        """UTC day since 1970 → a text that changes whenever the day's sums do (the number of events in them), where it has any."""
        ...

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        """One row per group and minute in [from, to) that has events: the dimensions of `group_by`, `minute` (since 1970),
        `numerator`, `denominator` (absent for counts and sums) and `sample`."""
        ...


class Statements:
    """Makes the statements, topic by topic. Several processes may run it: a round is written by whoever is first."""

    def __init__(
        self,
        pool: Pool,
        frontier: ReadFrontier,
        catalogue: Catalogue,
        buckets: Buckets,
        said: Callable[[], None] = lambda: None,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """`frontier` tells a topic's; `said` is called after statements were committed: the relay need not wait for its poll."""
        self._pool = pool
        self._frontier = frontier
        self._catalogue = catalogue
        self._buckets = buckets
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
        async with self._pool.acquire() as connection:
            progress = await store.read_progress(connection, topic)
        changed = [day for day, content in contents.items() if progress.finished_days.get(day) != content]
        watched = self._watched(topic)
        stated = {key: series for key, series in progress.series.items() if _is_watched(series, watched)}
        withdrawn = [series for key, series in progress.series.items() if key not in stated]
        lagging = [(series, watched[series.indicator_id][1]) for series in stated.values() if series.stated_until < upto]
        round_ = stating.plan(contents, changed, lagging, upto)
        moved, made = await self._state(round_, watched, stated)
        made += [withdrawal_of(series, max(upto, series.stated_until + 1)) for series in withdrawn if series.is_breached]
        made.sort(key=lambda statement: (statement.end, statement.series))
        finished = {day: contents[day] for day in round_.finished_days if day in changed}
        gone = [day for day in progress.finished_days if day not in contents]
        async with self._pool.acquire() as connection, connection.transaction():
            if not await store.advance(connection, topic, progress.version):
                return True  # another process wrote this round; look again
            await store.write_series(connection, topic, moved, progress.series)
            await store.drop_series(connection, topic, [series.key for series in withdrawn])
            await store.write_history(connection, made)
            await store.write_days(connection, topic, finished, gone)
            await put(connection, [Outgoing(statement.series, _event(statement)) for statement in made])
            if made:
                crashpoint("statements.before_commit")
        if made:
            crashpoint("statements.after_commit")
        self._tell(topic, round_.upto, stated | {series.key: series for series in moved}, made)
        if round_.is_last:
            self._reached[topic] = upto
        return not round_.is_last

    async def _state(
        self, round_: stating.Round, watched: Mapping[str, tuple[EventIndicator, Threshold]], stated: Mapping[str, Series]
    ) -> tuple[list[Series], list[Statement]]:
        """The series that moved in this round, and what is to be said."""
        moved: list[Series] = []
        made: list[Statement] = []
        for indicator, threshold in watched.values():
            known = {key: series for key, series in stated.items() if series.indicator_id == indicator.id}
            totals = [await self._buckets.totals(indicator, threshold.by, *minutes) for minutes in round_.ranges]
            frame = pl.concat(totals) if totals else _no_totals(indicator, threshold)
            # thousands of series take a while, and the consumer shares this loop
            some_moved, some_made = await asyncio.to_thread(stating.state, indicator, threshold, frame, known, round_.upto)
            moved += some_moved
            made += some_made
        return moved, made

    def _watched(self, topic: str) -> dict[str, tuple[EventIndicator, Threshold]]:
        return {i.id: (i, i.threshold) for i in self._catalogue.on(topic) if i.threshold is not None}

    def _tell(self, topic: str, upto: int, series: Mapping[str, Series], made: Sequence[Statement]) -> None:
        STATED_UNTIL.labels(topic).set(upto * 60)
        for indicator_id in self._watched(topic):
            BREACHED.labels(indicator_id).set(sum(s.is_breached for s in series.values() if s.indicator_id == indicator_id))
        for statement in made:
            STATEMENTS.labels(statement.data.indicator_id, statement.kind).inc()
            log.info(
                "statement", series=statement.series, kind=statement.kind, reason=statement.reason, at=statement.at.isoformat()
            )
        if made:
            self._said()


def _is_watched(series: Series, watched: Mapping[str, tuple[EventIndicator, Threshold]]) -> bool:
    """Whether the catalogue still has the threshold, by the same dimensions."""
    return series.indicator_id in watched and set(watched[series.indicator_id][1].by) == series.dimensions.keys()


def _no_totals(indicator: EventIndicator, threshold: Threshold) -> pl.DataFrame:
    quantities = ("numerator", "sample") if indicator.denominator is None else ("numerator", "denominator", "sample")
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(threshold.by, pl.String) | {"minute": pl.Int64}
    return pl.DataFrame(schema=schema | dict.fromkeys(quantities, pl.Float64))


def _event(statement: Statement) -> IndicatorBreached | IndicatorRecovered:
    event: IndicatorBreached | IndicatorRecovered = own_event(
        IndicatorBreached if statement.kind == "breached" else IndicatorRecovered,
        id=statement.event_id,
        source=SOURCE,
        at=statement.at,
        subject=statement.series,
        # a series is stated about at most once a minute, in order
        sequence=statement.end,
        data=statement.data,
    )
    return event
