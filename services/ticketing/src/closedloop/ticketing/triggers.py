"""The statement loop: batch once per ten-minute step, hot once per minute of event time, when the frontier has passed it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.common.consumer.crashpoints import crashpoint
from closedloop.common.consumer.frontier import ReadFrontier
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.ticketing import batches, filing, hot_subjects, metrics
from closedloop.ticketing.domain.bins import bin_of, bin_start
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import subjects

EVERY_S: Final = 2.0
SUBJECTS_AT_ONCE: Final = 50
"""Subjects in one transaction: their rows stay locked, and the consumer waits for them, for well under a second."""
COMPLAINTS_TOPIC: Final = "complaints"


class Statements:
    """Makes the statements that can be made. One process at a time does; the writes about a subject and how far it is stated
    are one transaction, so a crash repeats the statement and states the same."""

    def __init__(
        self, pool: Pool, frontier: ReadFrontier, settings: TicketingSettings, zone: ZoneInfo, wake: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._frontier = frontier
        self._settings = settings
        self._zone = zone
        self._wake = wake

    async def run_once(self) -> None:
        """State everything up to where event time has come."""
        frontier = await self._frontier(COMPLAINTS_TOPIC)
        if frontier is not None and await self.state_until(frontier):
            metrics.STATED_UNTIL.set(frontier.timestamp())

    async def state_until(self, frontier: datetime) -> bool:
        """Make all statements about event time up to `frontier`. False where another process is making them."""
        everyone = batches.EveryoneLoader(self._zone)
        stated = SUBJECTS_AT_ONCE
        while stated == SUBJECTS_AT_ONCE:
            async with self._pool.acquire() as connection, connection.transaction():
                # held by the transaction: a frozen process loses it when the server ends its idle transaction
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext(current_schema() || '.statements'))"):
                    return False
                stated = await self._state_some(connection, frontier.astimezone(UTC), everyone)
                if stated:
                    crashpoint("statements.before_commit")
            if stated:
                crashpoint("statements.after_commit")
                self._wake()
        return True

    async def _state_some(self, connection: Connection, frontier: datetime, everyone: batches.EveryoneLoader) -> int:
        """Statements about some of the subjects that are due; returns how many those were."""
        settings = self._settings
        step, minute = bin_start(bin_of(frontier)), frontier.replace(second=0, microsecond=0)
        due = await subjects.due(connection, step, minute, settings.settle_s, settings.settle_at_most_s, SUBJECTS_AT_ONCE)
        if not due:
            return 0
        batch = await batches.state(connection, [s for s in due if s.due_for_batch], step, everyone, settings)
        hot = await hot_subjects.state(connection, [s for s in due if s.due_for_hot], minute, settings)
        last_hot = hot.fired_at()
        # Subjects before tickets, as the consumer locks them. All firings together, so that the first in event time opens the
        # ticket, also where days are caught up at once.
        await subjects.stated(connection, [(s.id, batch.until.get(s.id), hot.until.get(s.id), last_hot.get(s.id)) for s in due])
        await filing.file(connection, [*batch.firings, *hot.firings])
        return len(due)
