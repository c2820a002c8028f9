"""Background upkeep: figures for Prometheus, and forgetting what is past its retention."""

from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.common.consumer import inbox
from closedloop.common.http.preconditions import forget_keys
from closedloop.common.postgres.pool import Pool
from closedloop.ticketing import metrics
from closedloop.ticketing.domain.bins import bin_of
from closedloop.ticketing.domain.stages import STAGES
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import complaints, subjects, tickets

FIGURES_EVERY_S: Final = 15.0
FORGET_EVERY_S: Final = 600.0
ROWS_AT_ONCE: Final = 10_000


class Upkeep:
    """Jobs beside the consumer."""

    def __init__(self, pool: Pool, settings: TicketingSettings, zone: ZoneInfo) -> None:
        self._pool = pool
        self._retention = timedelta(days=settings.retention_days)
        self._zone = zone

    async def figures(self) -> None:
        """Refresh the gauges that are counts of rows."""
        async with self._pool.acquire() as connection:
            by_stage = await tickets.open_by_stage(connection)
            for stage in STAGES[:-1]:
                metrics.OPEN_TICKETS.labels(stage).set(by_stage.get(stage, 0))
            today = (await tickets.now(connection)).astimezone(self._zone).date()
            metrics.OVERDUE_MEASURES.set(await tickets.overdue_measures(connection, today.isoformat()))
            metrics.SUBJECTS.set(await subjects.number(connection))

    async def forget(self) -> None:
        """Drop what was received longer ago than the retention, some rows a transaction."""
        async with self._pool.acquire() as connection:
            clock = await tickets.now(connection)
            await forget_keys(connection, clock)
            before = clock - self._retention
            for forget in (inbox.forget, complaints.forget):
                while await forget(connection, before, ROWS_AT_ONCE) == ROWS_AT_ONCE:
                    pass
            await subjects.forget(connection, bin_of(before))
