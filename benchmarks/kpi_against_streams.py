"""kpi against a Kafka Streams program that computes the same aggregate: one run, one broker, one topic.

Four million evaluations of the contract (about 350 bytes, six partitions, none twice), over four hours of event time. Count, sum
and low count per minute, region, product and channel (624 groups), exactly once on both sides. The peer runs with one thread; its
second, warm half is the bar. kpi is one process from a cold start, which checks every rule of the contract and looks for
duplicates. CPU is that of everybody at work: the process, the broker and, for kpi, PostgreSQL; the peer's broker is counted over
the whole of its run. Then the same with librdkafka in aiokafka's place, and with the shipped catalogue.

The peer is not part of this repository: --peer names its folder (with run.sh, which needs a JDK and Maven). Without it kpi is
measured alone.

    python benchmarks/kpi_against_streams.py [--events 4000000] [--runs 3] [--peer ../shared/peers/kstreams]
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Final

import asyncpg
import uvloop
from bars import Bars
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kpi_throughput import count_events, fresh_database
from librdkafka_source import LibrdkafkaSource

from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import KafkaSource
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.domain.buckets import decode
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

TOPIC: Final = "evaluations"
PARTITIONS: Final = 6
EVENTS_A_SECOND: Final = 278
"""Of event time: a million an hour."""
REGIONS, PRODUCTS, CHANNELS = (
    [f"R{n:02d}" for n in range(13)],
    ["broadband", "leased_line", "mobile", "iptv", "cloud", "landline"],
    ["hotline", "business_hall", "web", "app", "sms", "field", "partner", "kiosk"],
)
LIBRDKAFKA: Final = "librdkafka"
KINDS: Final = ("single", LIBRDKAFKA, "full")
ONE_AGGREGATE: Final = Path(__file__).with_name("against_streams.yaml")
HERE: Final = Path(__file__).resolve().parent
Sums = dict[str, float]


def events(count: int) -> Iterator[tuple[str, int, bytes, int]]:
    """(customer, milliseconds, value, score), in the order of sending; each up to 20 s out of order."""
    chance = random.Random(7)
    groups = list(product(REGIONS, PRODUCTS, CHANNELS))
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=count / EVENTS_A_SECOND + 60)
    zone = timedelta(hours=8)
    for number in range(count):
        at = start + timedelta(seconds=number // EVENTS_A_SECOND - chance.randrange(20))
        region, sold, channel = groups[int(chance.random() * len(groups))]
        customer, score = f"C{number * 7919 % 3_000_000:07d}", 1 + int(chance.random() * 10)
        value = (
            f'{{"specversion":"1.0","id":"e-{number}","source":"/csp/nanjing","type":"evaluation.submitted.v1",'
            f'"time":"{at + zone:%Y-%m-%dT%H:%M:%S}+08:00","subject":"{customer}","datacontenttype":"application/json",'
            f'"data":{{"customer_id":"{customer}","region":"{region}","customer_class":"regular","product":"{sold}",'
            f'"channel":"{channel}","kind":"survey","score":{score},"contact_id":"k-{number}"}}}}'
        ).encode()
        yield customer, int(at.timestamp() * 1000), value, score


def produce(bootstrap: str, count: int) -> Sums:
    """Fill the topic, whose records carry the event's time and stay. What must come out."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    settings = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config=settings)])[TOPIC].result(30)
    others = tuple(topic for topic in (*TOPICS, *dead_letter_topics()) if topic.name != TOPIC)
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap), others))
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
    size = low = total = 0
    for customer, milliseconds, value, score in events(count):
        size, total, low = size + len(value), total + score, low + (score <= 6)
        while True:
            try:
                producer.produce(TOPIC, value, customer, timestamp=milliseconds)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    print(f"{count:,} events of {size / count:.0f} bytes in the mean", flush=True)
    return {"count": count, "sum": total, "low": low}


def cpu_of(pid: int) -> float:
    """User and system seconds of a process, of its children and of those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # a child of PostgreSQL's that has just ended: its parent has its time
        return 0.0
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + sum(cpu_of(int(child)) for child in children)


async def count_and_tell(options: argparse.Namespace) -> dict[str, float]:
    """What kpi needs for all events; `broker` and `postgres` are their CPU seconds meanwhile."""
    kafka = KafkaSettings(bootstrap=options.bootstrap)
    before = {"broker": cpu_of(options.broker), "postgres": cpu_of(options.postgres)}
    client = LibrdkafkaSource if options.child == LIBRDKAFKA else KafkaSource
    result = await count_events(kafka, options.database, options.events, catalogue(options.child), client)
    after = {"broker": cpu_of(options.broker), "postgres": cpu_of(options.postgres)}
    return result | {name: after[name] - before[name] for name in before}


def catalogue(name: str) -> Catalogue:
    """`single`: one aggregate; `full`: what is shipped, of the one topic that has events."""
    if name == "full":
        return load_catalogue()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ONE_AGGREGATE, folder)
        return load_catalogue(shipped=Path(folder))


async def counted(url: str) -> Sums:
    """What stands in the database."""
    of = catalogue("single")
    mean, low = of.from_events
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT data FROM segment WHERE kind = 'bucket'")
    await connection.close()
    frames = [decode(row["data"]) for row in rows]
    names = {"count": mean.sample_measure.name, "sum": mean.numerator_measure.name, "low": low.numerator_measure.name}
    return {what: sum(float(frame[name].sum()) for frame in frames) for what, name in names.items()}


def run_ours(kind: str, url: str, broker: KafkaServer, postgres: PostgresServer, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, "--bootstrap", broker.bootstrap, "--database", url]
    command += ["--events", str(count), "--broker", str(broker.pid), "--postgres", str(postgres.pid)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    of: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    rate = count / of["seconds"]
    parts = {name: of[name] / count * 1e6 for name in ("cpu", "broker", "postgres")}
    said = f"process {parts['cpu']:.2f}, broker {parts['broker']:.2f}, PostgreSQL {parts['postgres']:.2f}"
    print(f"  kpi, {kind:10} {rate:>9,.0f} events/s  {sum(parts.values()):5.2f} CPU-s/M ({said})", flush=True)
    return {"rate": rate, "cpu": sum(parts.values())}


def run_peer(folder: Path, broker: KafkaServer, count: int) -> dict[str, float]:
    command = [str(folder / "run.sh"), f"bs={broker.bootstrap}", f"topic={TOPIC}", f"n={count}", "mode=dsl", "threads=1"]
    command += ["guarantee=exactly_once_v2", f"brokerPid={broker.pid}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    of = json.loads(next(line for line in done.stdout.decode().splitlines() if line.startswith("{")))
    assert of["events"] == count, f"the peer counted {of['events']} of {count} events"
    process, broker_cpu = of["warm_half_cpu_s_per_M"], of["broker_cpu_s_per_M"]
    print(
        f"  peer            {of['warm_half_eps']:>9,.0f} events/s  {process + broker_cpu:5.2f} CPU-s/M (process {process:.2f},"
        f" broker {broker_cpu:.2f}); the whole run {of['eps']:,.0f} events/s, process {of['cpu_s_per_M']:.2f}",
        flush=True,
    )
    return {"rate": of["warm_half_eps"], "cpu": process + broker_cpu}


def why_no_peer(folder: Path) -> str | None:
    if not (folder / "run.sh").is_file():
        return f"no peer at {folder} (--peer names its folder)"
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    return f"the peer needs {', '.join(missing)}" if missing else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", type=Path, default=HERE.parent.parent / "shared" / "peers" / "kstreams")
    parser.add_argument("--child", choices=KINDS)
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--database", default="")
    parser.add_argument("--broker", type=int, default=0)
    parser.add_argument("--postgres", type=int, default=0)
    options = parser.parse_args()
    if options.child:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(count_and_tell(options))))
        return
    alone = why_no_peer(options.peer)
    if alone:
        print(f"{alone}: kpi is measured alone")
    folder = Path(tempfile.mkdtemp(prefix="closedloop-bench-"))
    folder.chmod(0o755)
    broker = KafkaServer(folder / "kafka", free_port(), heap_mb=1024)
    postgres = PostgresServer(folder / "postgres", free_port(), password="bench")
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("peer", *KINDS)}
    try:
        postgres.start()
        broker.start()
        expected = produce(broker.bootstrap, options.events)
        for run in range(options.runs):
            if not alone:
                found["peer"].append(run_peer(options.peer, broker, options.events))
            for kind in KINDS:
                url = asyncio.run(fresh_database(postgres.admin_url, f"bench_{kind}_{run}"))
                found[kind].append(run_ours(kind, url, broker, postgres, options.events))
                if kind != "full":
                    stands = asyncio.run(counted(url))
                    assert stands == expected, f"kpi counted {stands}, sent was {expected}"
    finally:
        broker.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    # each ratio is of neighbours in time: what else the machine does weighs on both
    bars = Bars()
    pairs = list(zip(found["peer"], found["single"], strict=False))
    if pairs:
        faster = statistics.median(single["rate"] / peer["rate"] for peer, single in pairs)
        leaner = statistics.median(single["cpu"] / peer["cpu"] for peer, single in pairs)
        bars.at_least("events/s, of the peer's warm half", faster, 1.0)
        bars.at_most("CPU per event, of the peer's", leaner, 0.8)
        other = [(peer, one) for peer, one in zip(found["peer"], found[LIBRDKAFKA], strict=True)]
        print(
            f"over librdkafka: rate {statistics.median(one['rate'] / peer['rate'] for peer, one in other):.3g},"
            f" CPU {statistics.median(one['cpu'] / peer['cpu'] for peer, one in other):.3g} of the peer's (ADR 0017)"
        )
    full = statistics.median(f["rate"] / s["rate"] for s, f in zip(found["single"], found["full"], strict=True))
    bars.at_least("full catalogue, of the single's rate", full, 0.5)
    bars.exit()


if __name__ == "__main__":
    main()
