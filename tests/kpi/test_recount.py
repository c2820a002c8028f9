"""What kpi says equals a plain recomputation: through Kafka, with duplicates and late events, by two processes after each other."""

import asyncio
from pathlib import Path

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.postgres.pool import create_pool
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from kpi import one_process

RECORDS = 60_000


async def test_duplicates_and_late_events_give_the_numbers_of_a_plain_recomputation(server_folder: Path, kpi_url: str) -> None:
    server = KafkaServer(server_folder / "kafka", free_port())
    await asyncio.to_thread(server.start)
    pool = await create_pool(kpi_url, "kpi")
    try:
        kafka = KafkaSettings(bootstrap=server.bootstrap)
        expected = await asyncio.to_thread(one_process.produce, kafka, RECORDS, 3)
        for share in (RECORDS // 2, RECORDS):
            await one_process.count(kafka, pool, share, max_batch=4_000)
        assert await one_process.said(pool) == expected.groups
        assert RECORDS * 0.08 < expected.repeated < RECORDS * 0.12
        assert RECORDS * 0.07 < expected.late < RECORDS * 0.12
    finally:
        await pool.close()
        server.kill()
