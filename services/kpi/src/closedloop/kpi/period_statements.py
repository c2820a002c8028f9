"""Use case: state how indicators stand by their levels of a period: what is reported, what is composed, and what is computed from
events and has no threshold."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import structlog

from closedloop.common.consumer.frontier import ReadFrontier
from closedloop.common.postgres.pool import Database, Pool
from closedloop.kpi import measurement_store, saying, state_store
from closedloop.kpi import statement_store as store
from closedloop.kpi.domain import period_states
from closedloop.kpi.domain.catalogue import Catalogue, Indicator
from closedloop.kpi.domain.period_states import Dimensions, PeriodAmount
from closedloop.kpi.domain.statement import Series, Statement, withdrawal_of
from closedloop.kpi.domain.windows import PERIODS, TooManyPoints, Window, minute_of, time_of
from closedloop.kpi.masking import Masking
from closedloop.kpi.period_amounts import period_amounts
from closedloop.kpi.values import Values

log = structlog.get_logger()
TOPIC: Final = "periods"
"""Under which their progress and series stand, as those of events do under their topic. No topic of Kafka has this name."""
Ends = Mapping[Window, tuple[int, int]]
"""Window → where the last two of its periods end."""
AGAIN_AFTER_MINUTES: Final = 5
"""Late events change a month that is over, and say so nowhere."""


class Signs(NamedTuple):
    """What a round rests on, but for late events: where all is the same, nothing has changed."""

    last_report: int
    silences: tuple[int, int]
    ends: tuple[tuple[int, int], ...]


class PeriodStatements:
    """Looks by the database's clock. Several processes may: a round is written by whoever is first, at most one a minute."""

    def __init__(
        self,
        pool: Pool,
        frontier: ReadFrontier,
        catalogue: Catalogue,
        values: Values,
        zone: ZoneInfo,
        said: Callable[[], None] = lambda: None,
        *,
        now: Callable[[Database], Awaitable[datetime]] = state_store.now,
    ) -> None:
        """`frontier` tells a topic's; `zone` is the operator's; `said` is called after statements were committed."""
        self._pool = pool
        self._frontier = frontier
        self._catalogue = catalogue
        self._values = values
        self._zone = zone
        self._said = said
        self._now = now
        self._seen: tuple[Signs, int] | None = None

    async def look(self) -> None:
        """State, where something may have changed since the last look."""
        async with self._pool.acquire() as connection:
            upto = minute_of(await self._now(connection))
            ends = {window: period_states.last_ends(window, upto, self._zone) for window in PERIODS}
            last_report = await measurement_store.read_last_id(connection)
            silences = await store.read_silences_passed(connection, upto)
        signs = Signs(last_report, silences, tuple(ends.values()))
        if self._seen is not None and self._seen[0] == signs and upto < self._seen[1] + AGAIN_AFTER_MINUTES:
            saying.STATED_UNTIL.labels(TOPIC).set(upto * 60)
            return
        if await self._state(upto, ends):
            self._seen = signs, upto

    async def _state(self, upto: int, ends: Ends) -> bool:
        """One round. False where it must be made again in the next minute: events were still on their way, or another process made
        this one, which may have read less than is there by now."""
        judged = {indicator.id: indicator for indicator in self._catalogue.by_period}
        async with self._pool.acquire() as connection:
            progress = await store.read_progress(connection, TOPIC, list(judged))
        if any(series.stated_until >= upto for series in progress.series.values()):
            return False
        moved, made, is_whole = await self._judge(progress, upto, ends)
        moved = [series for series in moved if series.key not in progress.elsewhere]
        made = [statement for statement in made if statement.series not in progress.elsewhere]
        withdrawn = [series for series in progress.series.values() if series.indicator_id not in judged]
        made += [withdrawal_of(series, upto) for series in withdrawn if series.is_breached]
        made.sort(key=lambda statement: (statement.end, statement.series))
        async with self._pool.acquire() as connection, connection.transaction():
            if not await saying.write(connection, TOPIC, progress, moved, withdrawn, made):
                return False
        standing = {**progress.series, **{series.key: series for series in moved}}
        saying.tell(TOPIC, upto, judged.values(), standing.values(), made)
        if made:
            self._said()
        return is_whole

    async def _judge(self, progress: store.Progress, upto: int, ends: Ends) -> tuple[list[Series], list[Statement], bool]:
        """The series that move, what is to be said, and whether every indicator could be judged. The frontiers are read first: what
        came up to them is read then."""
        arrived = {topic: await self._frontier(topic) for topic in self._catalogue.topics}
        since = min((series.stated_until for series in progress.series.values()), default=0)
        masking = Masking(self._pool, self._catalogue, self._zone, since, upto)
        await masking.read_silences()
        known: dict[str, dict[str, Series]] = {}
        for key, series in progress.series.items():
            known.setdefault(series.indicator_id, {})[key] = series
        moved: list[Series] = []
        made: list[Statement] = []
        is_whole = True
        for indicator in self._catalogue.by_period:
            last_two = ends[period_states.window_of(indicator)]
            frontiers = [arrived[topic] for topic in self._catalogue.topics_of(indicator)]
            if any(frontier is None or frontier < time_of(last_two[-1]) for frontier in frontiers):
                is_whole = False  # events of the period are still on their way
                continue
            amounts = await self._amounts(indicator, last_two)
            if amounts is not None:
                own, masks_of = known.get(indicator.id, {}), masking.silenced(indicator)
                some = period_states.state(indicator, self._zone, last_two, amounts, own, upto, masks_of)
                moved += some[0]
                made += some[1]
        return moved, made, is_whole

    async def _amounts(self, indicator: Indicator, ends: tuple[int, int]) -> Mapping[Dimensions, Sequence[PeriodAmount]] | None:
        """Group → the figures of the periods that end there. None where those are too many."""
        try:
            return await period_amounts(self._values, indicator, ends)
        except TooManyPoints:
            log.warning("too many regions to be judged", indicator=indicator.id)
            return None
