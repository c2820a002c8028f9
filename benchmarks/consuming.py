"""How fast each service takes records into its tables, against only fetching them, from six partitions and from one.

kpi takes the stream of kpi_throughput; recovery ratings, 1 in 20 dissatisfied and so to be called; ticketing complaints on 4,000
subjects. One process, exactly-once on, broker and database beside it on the same machine, a fresh database and
broker for each line. Only the taking in is timed: no REST, no relay, no statements.

    python benchmarks/consuming.py [--events 200000] [--only recovery,ticketing]
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import uvloop
from aiokafka import TopicPartition
from confluent_kafka import Producer
from kpi_throughput import events as events_for_kpi
from kpi_throughput import fresh_database

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.consumer.processor import Decoded, Processor
from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.postgres.pool import Connection, create_pool
from closedloop.common.service import jobs_running
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import Counting
from closedloop.kpi.main import calm_collector
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from closedloop.recovery.consumer import processor as recovery_processor
from closedloop.recovery.intake import Intake as RecoveryIntake
from closedloop.recovery.settings import RecoverySettings
from closedloop.recovery.store.clock import Clock
from closedloop.ticketing.consumer import Intake as TicketingIntake
from closedloop.ticketing.consumer import processor as ticketing_processor
from closedloop.ticketing.settings import TicketingSettings

SERVICES: Final = ("kpi", "recovery", "ticketing")
DISSATISFIED_ONE_IN: Final = 20
SUBJECTS: Final = 4000


def events(service: str, count: int) -> Iterator[tuple[str, str, bytes]]:
    """(topic, customer, value), each event once."""
    chance = random.Random(7)
    if service == "kpi":
        yield from events_for_kpi(count, chance)
        return
    start = datetime.now(UTC) - timedelta(hours=20)
    for number in range(count):
        customer = f"C{chance.randrange(count):07d}"
        shared = {"customer_id": customer, "region": f"R{chance.randrange(20):02d}", "product": "broadband"}
        if service == "recovery":
            topic, type_ = "evaluations", "evaluation.submitted.v1"
            score = 2 if chance.randrange(DISSATISFIED_ONE_IN) == 0 else 9
            own: dict[str, Any] = {"kind": "sms_rating", "score": score, "contact_id": f"k-{number}"}
        else:
            topic, type_ = "complaints", "complaint.registered.v1"
            own = {"complaint_id": f"k-{number}", "topic_path": f"billing/case_{chance.randrange(SUBJECTS)}"}
        event = {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "/csp/nanjing",
            "type": type_,
            "time": (start + timedelta(seconds=chance.randrange(72_000))).isoformat(),
            "data": shared | own,
        }
        yield topic, customer, json.dumps(event).encode()


def produce(bootstrap: str, service: str, count: int, partitions: int) -> None:
    topics = tuple(dataclasses.replace(topic, partitions=partitions) for topic in TOPICS)
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap), (*topics, *dead_letter_topics())))
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 50, "compression.type": "lz4"}
    )
    for topic, customer, value in events(service, count):
        while True:
            with contextlib.suppress(BufferError):
                producer.produce(topic, value, customer)
                break
            producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def processor_of(service: str) -> Processor[Any]:
    if service == "recovery":
        return recovery_processor(RecoveryIntake(RecoverySettings().rules(), Clock(), lambda: None))
    if service == "ticketing":
        return ticketing_processor(TicketingIntake(TicketingSettings()), lambda: None)
    settings, catalogue = KpiSettings(), load_catalogue()
    counting = Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below)
    return KpiProcessor(catalogue, counting, settings.retention)


class Timed:
    """A service's processor; tells when `count` records are committed, from the moment when positions were restored."""

    def __init__(self, inner: Processor[Any], count: int) -> None:
        self._inner, self._left = inner, count
        self.topics: Final = inner.topics
        self._sizes: dict[int, int] = {}
        self._started = 0.0
        self.seconds: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def decode(self, batch: Batch) -> Decoded[Any]:
        decoded = self._inner.decode(batch)
        self._sizes[id(decoded.payload)] = len(batch)
        return decoded

    async def apply(self, connection: Connection, payload: Any) -> Sequence[Rejection]:
        return await self._inner.apply(connection, payload)

    def committed(self, payload: Any) -> None:
        self._inner.committed(payload)
        self._left -= self._sizes.pop(id(payload))
        if self._left <= 0 and not self.seconds.done():
            self.seconds.set_result(time.perf_counter() - self._started)

    def reset(self) -> None:
        self._inner.reset()
        self._sizes.clear()
        self._started = time.perf_counter()


async def take(kafka: KafkaSettings, url: str, service: str, count: int) -> float:
    pool = await create_pool(url, service)
    sink = KafkaSink(kafka, "bench")
    timed = Timed(processor_of(service), count)
    calm_collector()
    source = KafkaSource(kafka, f"bench-{service}", timed.topics)
    # the batches that the services ask for
    kpi = KpiSettings()
    sizes = {"max_batch": kpi.batch_records, "linger_s": kpi.batch_linger_s} if service == "kpi" else {"max_batch": 5_000}
    async with jobs_running(consumer=ConsumerLoop(source, pool, DeadLetters(kafka, sink, service), timed, **sizes)):
        seconds = await timed.seconds
    await sink.stop()
    await pool.close()
    return seconds


async def fetch(kafka: KafkaSettings, service: str, count: int) -> float:
    """The same records with the same client, doing nothing with them."""
    source = KafkaSource(kafka, "bench-fetch", [topic.name for topic in TOPICS if service in topic.consumers])
    await source.start()
    while source.generation < 1 or not source.assigned():
        await asyncio.sleep(0.05)
    started, left = time.perf_counter(), count
    assigned: Sequence[TopicPartition] = list(source.assigned())
    for partition in assigned:
        source.seek(partition, 0)
    while left > 0:
        left -= sum(map(len, (await source.poll(50_000, 200)).values()))
    seconds = time.perf_counter() - started
    await source.stop()
    return seconds


def in_a_process(kind: str, service: str, bootstrap: str, url: str, count: int) -> float:
    command = [sys.executable, __file__, "--child", kind, "--only", service, "--bootstrap", bootstrap, "--events", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "BENCH_DATABASE_URL": url})
    return float(done.stdout.splitlines()[-1])


def measure(folder: Path, admin_url: str, service: str, partitions: int, count: int) -> tuple[float, float]:
    """(events/s of the service, of fetching)."""
    name = f"{service}_{partitions}"
    broker = KafkaServer(folder / name, free_port())
    broker.start()
    try:
        produce(broker.bootstrap, service, count, partitions)
        url = asyncio.run(fresh_database(admin_url, f"bench_{name}", service))
        fetching = in_a_process("fetch", service, broker.bootstrap, url, count)
        taking = in_a_process("take", service, broker.bootstrap, url, count)
    finally:
        broker.stop()
    return count / taking, count / fetching


def child(options: argparse.Namespace) -> float:
    kafka = KafkaSettings(bootstrap=options.bootstrap)
    if options.child == "fetch":
        return uvloop.run(fetch(kafka, options.only, options.events))
    return uvloop.run(take(kafka, os.environ["BENCH_DATABASE_URL"], options.only, options.events))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--only", default=",".join(SERVICES))
    parser.add_argument("--child", choices=("fetch", "take"), help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(child(options))
        return
    with tempfile.TemporaryDirectory(prefix="closedloop-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = PostgresServer(folder / "postgres", free_port(), password="bench")
        postgres.start()
        try:
            for service in options.only.split(","):
                rates = {
                    partitions: measure(folder, postgres.admin_url, service, partitions, options.events) for partitions in (6, 1)
                }
                for partitions, (taking, fetching) in rates.items():
                    ratios = f"{taking / fetching:.2f} of fetching, {taking / rates[6][0]:.2f} of six"
                    print(f"{service:9} {partitions} partitions: {taking:>9,.0f} events/s, {ratios}")
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
