"""The counting engine on a real PostgreSQL, without Kafka: batches in, values out."""

import contextlib
from datetime import timedelta
from zoneinfo import ZoneInfo

import polars as pl

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.failures import Rejection
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import counted_store
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import DISSATISFIED_BELOW
from closedloop.kpi.reading import BucketReader
from kpi.shipped import SHIPPED

MEGABYTE = 1 << 20
ZONE = ZoneInfo("Asia/Shanghai")


class RolledBack(Exception):
    """The transaction did not hold."""


class Engine:
    """One process's counting. `take` is what the consumer loop does with a batch."""

    def __init__(self, pool: Pool, catalogue: Catalogue | None = None, max_seen_bytes: int = 64 * MEGABYTE) -> None:
        self.pool = pool
        self.catalogue = catalogue or SHIPPED
        self.counting = Counting(self.catalogue, max_seen_bytes, DISSATISFIED_BELOW)
        self.processor = KpiProcessor(self.catalogue, self.counting, timedelta(days=400))
        self.reader = BucketReader(pool, self.catalogue, 64 * MEGABYTE, ZONE)

    async def take(self, batch: Batch, *, rolls_back: bool = False) -> list[Rejection]:
        decoded = self.processor.decode(batch)
        with contextlib.suppress(RolledBack):
            async with self.pool.acquire() as connection, connection.transaction():
                await counted_store.note(connection, self.catalogue.counted_columns)
                late = await self.processor.apply(connection, decoded.payload)
                if rolls_back:
                    raise RolledBack
        if not rolls_back:
            self.processor.committed(decoded.payload)
        return [*decoded.rejections, *late]

    async def total(self, indicator_id: str, by: tuple[str, ...] = ()) -> dict[tuple[object, ...], tuple[float, ...]]:
        """Group → (numerator, denominator where there is one, sample) over all time."""
        indicator = self.catalogue.counted(indicator_id)
        assert indicator is not None
        days = await self.reader.contents(indicator.topic)
        if not days:
            return {}
        frame = await self.reader.totals(indicator, by, min(days) * 1440, (max(days) + 1) * 1440)
        sums = frame.drop("minute").group_by(by).agg(pl.all().sum()) if by else frame.drop("minute").sum()
        return {row[: len(by)]: row[len(by) :] for row in sums.rows()}
