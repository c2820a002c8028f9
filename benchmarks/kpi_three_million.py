"""Three million records, 10 % sent again and 10 % a day late: kpi against a plain recomputation, and whether its rate holds.

One process, one topic, an aggregate by region, product and channel: each group's count, sum and low count per minute must be
exactly those of tests/kpi/recount.py, which imports nothing of ours. The rate of the last third is compared with that of the first:
cost must grow with events and not with history.

    python benchmarks/kpi_three_million.py [--events 3000000]
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from bars import Bars
from kpi_throughput import fresh_database

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.postgres.pool import create_pool
from closedloop.kpi.main import calm_collector
from closedloop.kpi.settings import KpiSettings
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from kpi import one_process, recount

THIRDS = 3


async def compare(kafka: KafkaSettings, url: str, records: int, expected: recount.Recount) -> Bars:
    calm_collector()
    pool = await create_pool(url, "kpi")
    seconds = []
    for third in range(1, THIRDS + 1):
        started = time.perf_counter()
        await one_process.count(kafka, pool, records * third // THIRDS, KpiSettings().batch_records)
        seconds.append(time.perf_counter() - started)
        print(f"  third {third}: {records / THIRDS / seconds[-1]:,.0f} events/s, with joining the group", flush=True)
    found = await one_process.said(pool)
    await pool.close()
    wrong = {group for group in found.keys() | expected.groups.keys() if found.get(group) != expected.groups.get(group)}
    print(f"{len(expected.groups):,} groups, {expected.repeated:,} duplicates, {expected.late:,} a day late")
    if wrong:
        print(f"for example {sorted(wrong)[:3]}")
    bars = Bars()
    bars.at_most("groups that differ from a plain recomputation", len(wrong), 0)
    bars.at_least("rate of the last third, of the first's", seconds[0] / seconds[-1], 0.8)
    return bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="closedloop-bench-"))
    folder.chmod(0o755)
    broker = KafkaServer(folder / "kafka", free_port())
    postgres = PostgresServer(folder / "postgres", free_port(), password="bench")
    try:
        postgres.start()
        broker.start()
        kafka = KafkaSettings(bootstrap=broker.bootstrap)
        expected = one_process.produce(kafka, options.events, 5)
        url = asyncio.run(fresh_database(postgres.admin_url, "bench_three_million"))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            bars = runner.run(compare(kafka, url, options.events, expected))
    finally:
        broker.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    bars.exit()


if __name__ == "__main__":
    main()
