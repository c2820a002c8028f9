"""The catalogue in force, and all that was made from it: replaced as a whole when an operator saves another entry.

Every transaction of the consumer looks first whether its batch was read by the catalogue that is in force by then, and reads it
again where it was not. So a batch is counted by one catalogue, the same in every process, and none by an old one once the
transaction that saved the new one is over, and those that had begun before it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import Gauge

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.processor import Decoded
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import counted_store, saved_entries
from closedloop.kpi.assembly import Assembly
from closedloop.kpi.catalogue_files import CatalogueRefused
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.consumer import Payload
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import CONSUMED

log = structlog.get_logger()
REFUSED: Final = Gauge(
    "kpi_catalogue_refused",
    "1 where saved entries and files do not fit together: the catalogue before stays in force, after a start the files alone",
)


class Live:
    """The assembly in force. Until PostgreSQL was asked for the first time it is that of the files alone."""

    def __init__(
        self,
        history: CatalogueHistory,
        zone: ZoneInfo,
        assemble: Callable[[Catalogue], Assembly],
        put: Callable[[Assembly], None],
    ) -> None:
        """`put` is told of each assembly. Raises CatalogueRefused where the files have problems."""
        self._history = history
        self._zone = zone
        self._assemble = assemble
        self._put = put
        self._known: tuple[int, date | None] = (0, None)
        self._one = asyncio.Lock()
        self.now = assemble(history.of_files(datetime.now(zone).date()))
        put(self.now)

    async def refresh(self, connection: Connection) -> Assembly:
        """The assembly of what is saved and valid by now."""
        latest, day = await saved_entries.latest(connection, self._zone.key)
        # with nothing saved or dated the same is in force on every day
        asked = (latest, day if latest or self._history.is_dated else None)
        if asked == self._known:
            return self.now
        async with self._one:
            if asked != self._known:
                try:
                    catalogue = await self._history.of(connection, day)
                except CatalogueRefused as refused:
                    log.error("the catalogue before stays in force", problems=refused.problems)
                    REFUSED.set(1)
                else:
                    REFUSED.set(0)
                    before, self.now = self.now, self._assemble(catalogue)
                    before.statements.stop()
                    self._put(self.now)
                    log.info("another catalogue is in force", indicators=len(catalogue.indicators), saved=latest)
                self._known = asked
        return self.now


@dataclass
class LivePayload:
    """A batch, by whom it was read, and what came of it."""

    batch: Batch
    assembly: Assembly
    payload: Payload


class LiveProcessor:
    """Hands batches to the assembly in force."""

    topics: Final = tuple(sorted(topic.name for topic in CONSUMED))

    def __init__(self, live: Live) -> None:
        self._live = live
        self._noted: Assembly | None = None

    def decode(self, batch: Batch) -> Decoded[LivePayload]:
        """What is rejected does not depend on the catalogue; which columns are read does."""
        assembly = self._live.now
        decoded = assembly.processor.decode(batch)
        return Decoded(LivePayload(batch, assembly, decoded.payload), decoded.rejections, decoded.watermarks)

    async def apply(self, connection: Connection, payload: LivePayload) -> Sequence[Rejection]:
        """Count, by the catalogue that is in force in this transaction."""
        assembly = await self._live.refresh(connection)
        if assembly is not payload.assembly:
            decoded = await asyncio.to_thread(assembly.processor.decode, payload.batch)
            payload.assembly, payload.payload = assembly, decoded.payload
        if assembly is not self._noted:
            await counted_store.note(connection, assembly.catalogue.counted_columns)
        return await assembly.processor.apply(connection, payload.payload)

    def committed(self, payload: LivePayload) -> None:
        """What was counted holds now."""
        self._noted = payload.assembly
        payload.assembly.processor.committed(payload.payload)

    def reset(self) -> None:
        """Forget what was cached of the database's state."""
        self._live.now.processor.reset()


class LiveStatements:
    """The job that states, by the catalogue in force."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._is_stopping = False

    async def run(self) -> None:
        """Until `stop`; the statements of a catalogue that was replaced end by themselves."""
        while not self._is_stopping:
            await self._live.now.statements.run()

    def stop(self) -> None:
        """End `run` after the round in hand."""
        self._is_stopping = True
        self._live.now.statements.stop()


class CatalogueWatch:
    """Looks for what other processes saved, so that routes and statements know it too while no events come."""

    def __init__(self, pool: Pool, live: Live) -> None:
        self._pool = pool
        self._live = live

    async def look(self) -> None:
        """Once."""
        async with self._pool.acquire() as connection:
            await self._live.refresh(connection)
