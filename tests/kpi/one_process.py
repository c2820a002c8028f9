"""kpi's counting as one process does it, between a real Kafka and a real PostgreSQL; and all that it then says of one aggregate."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from confluent_kafka import Producer

from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.postgres.pool import Pool
from closedloop.common.service import Every, jobs_running
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from kpi import recount

ONE_AGGREGATE = Path(__file__).parents[2] / "benchmarks" / "against_streams.yaml"
DIMENSIONS = ("region", "product", "channel")


def one_aggregate() -> Catalogue:
    """Count, sum and low count of scores by region, product and channel."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ONE_AGGREGATE, folder)
        return load_catalogue(shipped=Path(folder))


def produce(kafka: KafkaSettings, count: int, seed: int) -> recount.Recount:
    """Make the topics, send the events; what must come out."""
    asyncio.run(ensure_topics(kafka))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random", "linger.ms": 50})
    expected = recount.Recount()
    for customer, value in recount.events(count, seed):
        expected.take(value)
        while True:
            try:
                producer.produce("evaluations", value, customer)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    return expected


async def count(kafka: KafkaSettings, pool: Pool, records: int, max_batch: int) -> None:
    """From the positions in the database until so many records are applied."""
    settings, catalogue = KpiSettings(), one_aggregate()
    sink = KafkaSink(kafka, "recount")
    processor = KpiProcessor(
        catalogue, Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below), settings.retention
    )
    source = KafkaSource(kafka, "recount", processor.topics)
    loop = ConsumerLoop(source, pool, DeadLetters(kafka, sink, "kpi"), processor, max_batch=max_batch)
    async with jobs_running(consumer=loop, compaction=Every(1.0, Compaction(pool, settings.retention).compact)):
        while await pool.fetchval("SELECT coalesce(sum(next_offset), 0) FROM consumer_offset") < records:
            await asyncio.sleep(0.1)
    await sink.stop()


async def said(pool: Pool) -> dict[recount.Group, list[int]]:
    """Count, sum and low count of each group."""
    catalogue = one_aggregate()
    reader = BucketReader(pool, catalogue, 64 * MEGABYTE)
    days = await reader.contents("evaluations")
    found: dict[recount.Group, list[int]] = {}
    for place, indicator in enumerate(catalogue.from_events, 1):
        frame = await reader.totals(indicator, DIMENSIONS, min(days) * 1440, (max(days) + 1) * 1440)
        for region, product, channel, minute, numerator, _, sample in frame.select(
            *DIMENSIONS, "minute", "numerator", "denominator", "sample"
        ).iter_rows():
            sums = found.setdefault((region, product, channel, minute), [0, 0, 0])
            sums[0], sums[place] = int(sample), int(numerator)
    return found
