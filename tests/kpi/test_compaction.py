"""Compaction changes how much is stored and nothing that is read or refused."""

import asyncio
from datetime import timedelta

from closedloop.common.postgres.pool import Pool
from closedloop.kpi.compaction import FANOUT, Compaction
from kpi.counting import Engine
from kpi.records import APPENDED, batch, encoded, envelope, rating, record

RETENTION = timedelta(days=400)


async def fill(engine: Engine, batches: int) -> None:
    """Batches of three events over two days; in each, one event was in the batch before."""
    for n in range(batches):
        values = [
            encoded(
                envelope(rating(region=f"R{i % 2}", score=1), id=f"e-{i}", time=(APPENDED - timedelta(hours=i % 30)).isoformat())
            )
            for i in range(2 * n, 2 * n + 3)
        ]
        await engine.take(batch([record(value, offset=3 * n + k) for k, value in enumerate(values)]))


async def segments(pool: Pool, kind: str) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM segment WHERE kind = $1", kind))


async def test_merging_makes_segments_few_and_changes_no_value(engine: Engine) -> None:
    await fill(engine, 40)
    before = await engine.total("dissatisfied_share", ("region",))
    contents = await engine.reader.contents("evaluations")
    assert before == {("R0",): (41, 41, 41), ("R1",): (40, 40, 40)}
    assert await segments(engine.pool, "bucket") > 40
    await Compaction(engine.pool, RETENTION).compact()
    assert await segments(engine.pool, "bucket") < 2 * 2 * FANOUT
    assert await segments(engine.pool, "seen") < 2 * 2 * FANOUT
    assert await engine.total("dissatisfied_share", ("region",)) == before
    assert await engine.reader.contents("evaluations") == contents


async def test_a_merged_hash_is_still_a_duplicate(engine: Engine) -> None:
    await fill(engine, 20)
    await Compaction(engine.pool, RETENTION).compact()
    await fill(Engine(engine.pool), 20)
    assert await engine.total("dissatisfied_share") == {(): (41, 41, 41)}


async def test_two_processes_may_merge_at_once_while_batches_come_in(engine: Engine) -> None:
    merging = [Compaction(engine.pool, RETENTION) for _ in range(2)]

    async def keep_merging(one: Compaction) -> None:
        while not done.is_set():
            await one.compact()
            await asyncio.sleep(0)

    done = asyncio.Event()
    tasks = [asyncio.create_task(keep_merging(one)) for one in merging]
    await fill(engine, 60)
    done.set()
    await asyncio.gather(*tasks)
    assert await engine.total("dissatisfied_share") == {(): (121, 121, 121)}


async def test_days_beyond_the_retention_are_dropped_once_nothing_of_them_can_come_again(engine: Engine) -> None:
    await fill(engine, 3)
    today = int(await engine.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::bigint / 86400"))
    # buckets and roll-ups go by spans of 32 days
    gone = [(today - 439, "seen"), *((today - 468, kind) for kind in ("bucket", "hour", "day"))]
    for day, kind in (*gone, (today - 435, "seen")):
        await engine.pool.execute(
            """INSERT INTO segment (kind, topic, day, partition, level, rows, events, data)
               VALUES ($2, 'orders', $1, 0, 0, 0, 0, '')""",
            day,
            kind,
        )
    await Compaction(engine.pool, RETENTION).forget()
    left = await engine.pool.fetch("SELECT day FROM segment WHERE topic = 'orders'")
    assert [row["day"] for row in left] == [today - 435]
    assert await engine.total("dissatisfied_share") == {(): (7, 7, 7)}


async def test_what_was_kept_of_merged_segments_is_forgotten(engine: Engine) -> None:
    compaction = Compaction(engine.pool, RETENTION)
    for _ in range(3):
        await fill(engine, 30)
        await engine.total("dissatisfied_share")
        await compaction.compact()
    await engine.total("dissatisfied_share")
    assert len(engine.reader.cache) == await segments(engine.pool, "bucket")
    assert engine.reader.cache.nbytes > 0
