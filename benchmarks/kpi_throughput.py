"""How fast kpi counts, against only fetching with the same client in the same run; and against itself with 1 % poison, with one
aggregate a topic in place of the shipped catalogue, and on a year of history.

A million contract events of a million customers on three topics, 20 regions × products × channels, spread over 24 hours, 10 %
duplicates, 1 % a day late; the shipped catalogue, dedup and exactly-once on; one process, with the broker and the database beside
it on the same machine. Each run is a process of its own with a fresh database, or one that holds a year of buckets, rolled up; the
figures are medians. Bars: 0.3 of fetching; with poison 0.5 of clean; the catalogue 0.5 of one aggregate a topic; on a year of
history 0.9 of an empty database.

    python benchmarks/kpi_throughput.py [--events 1000000] [--runs 3]
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop
from bars import Bars
from confluent_kafka import Producer
from kpi_series import fill

from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.loop import ConsumerLoop
from closedloop.common.consumer.processor import Decoded
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import create_pool
from closedloop.common.service import Every, jobs_running
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.consumer import KpiProcessor, Payload
from closedloop.kpi.counting import Counting
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.main import calm_collector
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

POISON = (
    b"\xff\xfe",
    b'{"specversion":"1.0","id":"x","source":"s","type":"evaluation.submitted.v1","time":"2026-01-01T00:00:00Z"}',
    b'{"specversion":"1.0","id":"x","id":"y"}',
    b"[" * 1100,
    b'{"type":"unknown.v1","specversion":"1.0","id":"x","source":"s","time":"2026-01-01T00:00:00Z","data":{}}',
)
PRODUCTS = ("broadband", "leased_line", "mobile", "iptv", "cloud")
CHANNELS = ("hotline", "business_hall", "web", "app", "sms", "field")
PROCESSES = ("business_support", "e_channel", "business_hall", "tariff", "new_service", "promotion")
FETCH_GROUP = "bench-fetch"
HISTORY_BUCKETS = 1_000_000


def events(count: int, chance: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """(topic, customer, value), in the order of sending; duplicates follow within the last 20,000."""
    zone = timedelta(hours=8)
    start = datetime.now(UTC) - timedelta(hours=25)
    recent: list[tuple[str, str, bytes]] = []
    for number in range(count):
        if recent and chance.random() < 0.1:
            yield chance.choice(recent)
            continue
        at = start + timedelta(seconds=chance.randrange(86_400), days=-1 if chance.random() < 0.01 else 0)
        customer = f"C{number:07d}"
        shared = (
            f'"customer_id":"{customer}","region":"R{chance.randrange(20):02d}","customer_class":'
            f'"{chance.choice(("diamond", "gold", "silver", "regular"))}","product":"{chance.choice(PRODUCTS)}",'
            f'"process":"{chance.choice(PROCESSES)}","channel":"{chance.choice(CHANNELS)}"'
        )
        kind = chance.random()
        if kind < 0.4:
            topic, type_ = "evaluations", "evaluation.submitted.v1"
            data = f'{shared},"kind":"{chance.choice(("survey", "sms_rating"))}","score":{chance.randrange(1, 11)}'
        elif kind < 0.6:
            topic, type_ = "complaints", "complaint.registered.v1"
            data = f'{shared},"complaint_id":"K{number}","topic_path":"top_up/t{chance.randrange(30)}"'
        else:
            topic, type_ = "orders", "order.status_changed.v1"
            data = (
                f'{shared},"order_id":"O{number}","order_type":"{chance.choice(("top_up", "plan_change", "resumption"))}",'
                f'"status":"{chance.choice(("submitted", "completed", "failed"))}","duration_s":{chance.randrange(5000)}'
            )
        value = (
            f'{{"specversion":"1.0","id":"e-{number}","source":"/csp/nanjing","type":"{type_}",'
            f'"time":"{at + zone:%Y-%m-%dT%H:%M:%S}+08:00","subject":"{customer}","datacontenttype":"application/json",'
            f'"data":{{{data}}}}}'
        ).encode()
        item = (topic, customer, value)
        if len(recent) < 20_000:
            recent.append(item)
        else:
            recent[number % 20_000] = item
        yield item


def produce(bootstrap: str, count: int, poison: float) -> None:
    chance = random.Random(5)
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap)))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "compression.type": "lz4",
            "batch.size": 200_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    for topic, customer, value in events(count, chance):
        is_poison = chance.random() < poison
        while True:
            try:
                producer.produce(topic, chance.choice(POISON) if is_poison else value, customer)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def fetch(kafka: KafkaSettings, count: int) -> dict[str, float]:
    """From the first position to the last record, doing nothing with them."""
    source = KafkaSource(kafka, f"{FETCH_GROUP}-{os.getpid()}", [topic.name for topic in INPUT_TOPICS])
    await source.start()
    while source.generation < 1 or not source.assigned():
        await asyncio.sleep(0.05)
    started, used = time.perf_counter(), cpu()
    for partition in source.assigned():
        source.seek(partition, 0)
    fetched = 0
    while fetched < count:
        fetched += sum(map(len, (await source.poll(50_000, 200)).values()))
    result = {"seconds": time.perf_counter() - started, "cpu": cpu() - used}
    await source.stop()
    return result


class Timed(KpiProcessor):
    """Notes when positions were restored and when the last record was committed."""

    started = 0.0
    records = 0

    def __init__(self, count: int, processor: KpiProcessor) -> None:
        self.__dict__.update(processor.__dict__)
        self._count = count
        self.done = asyncio.Event()
        self._pending: dict[int, int] = {}
        self.rejected: list[Rejection] = []
        self.decoding = 0.0
        self.batches = 0

    def decode(self, batch: Batch) -> Decoded[Payload]:
        at = time.thread_time()
        decoded = super().decode(batch)
        self.decoding += time.thread_time() - at
        self._pending[id(decoded.payload)] = len(batch)
        self.batches += 1
        return decoded

    def committed(self, payload: Payload) -> None:
        super().committed(payload)
        self.records += self._pending.pop(id(payload))
        if self.records >= self._count:
            self.result = {"seconds": time.perf_counter() - self.started, "cpu": cpu() - self.used, "decode": self.decoding}
            self.done.set()

    def reset(self) -> None:
        super().reset()
        if not self.started or not self.records:
            self.started, self.used = time.perf_counter(), cpu()


async def count_events(
    kafka: KafkaSettings, url: str, count: int, catalogue: Catalogue, client: type[KafkaSource] = KafkaSource
) -> dict[str, float]:
    settings = KpiSettings()
    calm_collector()
    pool = await create_pool(url, "kpi")
    sink = KafkaSink(kafka, "bench")
    counting = Counting(catalogue, settings.seen_cache_mb * MEGABYTE, settings.dissatisfied_below)
    processor = Timed(count, KpiProcessor(catalogue, counting, settings.retention))
    source = client(kafka, f"bench-{os.getpid()}", processor.topics)
    loop = ConsumerLoop(
        source, pool, DeadLetters(kafka, sink, "kpi"), processor, max_batch=settings.batch_records, linger_s=settings.batch_linger_s
    )
    compaction = Every(2.0, Compaction(pool, settings.retention).compact)
    async with jobs_running(consumer=loop, compaction=compaction):
        await processor.done.wait()
    await sink.stop()
    await pool.close()
    return processor.result


def child(options: argparse.Namespace) -> None:
    kafka = KafkaSettings(bootstrap=options.bootstrap)
    if options.child == "fetch":
        work = fetch(kafka, options.events)
    else:
        work = count_events(kafka, options.database, options.events, catalogue(options.child))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work)))


def catalogue(kind: str) -> Catalogue:
    """`single`: one aggregate a topic; else what is shipped."""
    if kind != "single":
        return load_catalogue()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name("one_aggregate_a_topic.yaml"), folder)
        return load_catalogue(shipped=Path(folder))


async def age(url: str) -> None:
    """Give a database a year of buckets."""
    pool = await create_pool(url, "kpi")
    await fill(pool, load_catalogue(), HISTORY_BUCKETS)
    await pool.close()


def run_child(kind: str, bootstrap: str, database: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, "--bootstrap", bootstrap, "--database", database, "--events", str(count)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    parsed: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return parsed


async def fresh_database(admin_url: str, name: str, service: str = "kpi") -> str:
    """The service's own, empty; its URL."""
    connection = await asyncpg.connect(admin_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    parts = urlsplit(admin_url)
    url = f"postgresql://bench_{service}:secret@{parts.hostname}:{parts.port}/{name}"
    os.environ["DATABASE_URL"] = urlunsplit(parts._replace(path=f"/{name}"))
    await asyncio.to_thread(migrate, service, url, import_module(f"closedloop.{service}.migrate").MIGRATIONS)
    return url


def measure(brokers: Sequence[str], admin_url: str, count: int, runs: int) -> dict[str, list[dict[str, float]]]:
    clean, poisoned = brokers
    found: dict[str, list[dict[str, float]]] = {"fetch": [], "single": [], "count": [], "history": [], "poison": []}
    for run in range(runs):
        found["fetch"].append(run_child("fetch", clean, "", count))
        for kind in ("single", "count", "history", "poison"):
            url = asyncio.run(fresh_database(admin_url, f"bench_{kind}_{run}"))
            if kind == "history":
                asyncio.run(age(url))
            broker = poisoned if kind == "poison" else clean
            found[kind].append(run_child("single" if kind == "single" else "count", broker, url, count))
        for kind, results in found.items():
            last = results[-1]
            decode = f", of it {last['decode'] / count * 1e6:.2f} reading records" if "decode" in last else ""
            print(f"  {kind:7} {count / last['seconds']:>10,.0f} events/s  {last['cpu'] / count * 1e6:5.2f} CPU-s/M{decode}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", choices=("fetch", "count", "single"))
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    folder = Path(tempfile.mkdtemp(prefix="closedloop-bench-"))
    folder.chmod(0o755)
    brokers = [KafkaServer(folder / name, free_port()) for name in ("clean", "poisoned")]
    postgres = PostgresServer(folder / "postgres", free_port(), password="bench")
    try:
        postgres.start()
        for broker, poison in zip(brokers, (0.0, 0.01), strict=True):
            broker.start()
            produce(broker.bootstrap, options.events, poison)
        found = measure([broker.bootstrap for broker in brokers], postgres.admin_url, options.events, options.runs)
    finally:
        for broker in brokers:
            broker.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    seconds = {kind: [r["seconds"] for r in results] for kind, results in found.items()}
    rate = {kind: options.events / statistics.median(of) for kind, of in seconds.items()}
    # each ratio is of neighbours in time: what else the machine does weighs on both
    to_fetch = statistics.median(f / c for f, c in zip(seconds["fetch"], seconds["count"], strict=True))
    to_clean, to_single, to_empty = (
        statistics.median(base / other for base, other in zip(seconds[of], seconds[kind], strict=True))
        for of, kind in (("count", "poison"), ("single", "count"), ("count", "history"))
    )
    print(f"fetch only {rate['fetch']:,.0f} events/s, kpi {rate['count']:,.0f}, with 1 % poison {rate['poison']:,.0f}")
    bars = Bars()
    bars.at_least("kpi's rate to that of only fetching", to_fetch, 0.3)
    bars.at_least("with 1 % poison to clean", to_clean, 0.5)
    bars.at_least("the catalogue to one aggregate a topic", to_single, 0.5)
    bars.at_least("on a year of history to an empty database", to_empty, 0.9)
    bars.exit()


if __name__ == "__main__":
    main()
