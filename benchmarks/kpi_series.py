"""How fast kpi answers `series` over a year of minute data and 10,000 series, over REST on a real PostgreSQL.

365 days of evaluations of 20 regions × 5 products × 5 channels × 4 classes × 5 processes, at random minutes, are written as a
batch of each day through the real store, rolled up and compacted by the real jobs. Then come random requests for one series by
filters and for all regions, windows of 24 h to a month, by days over the year and by hours over up to 16 days, with edges at
midnight and at odd minutes. The bar is for a warm cache, one in which three times as many others of the same kinds were answered
before; a cold one is empty.
What history costs is told by one window of 365 days against one of an hour, as the reader is asked for it, in the same run.

    python benchmarks/kpi_series.py [--buckets 4000000] [--requests 400]
"""

import argparse
import asyncio
import contextlib
import functools
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import numpy as np
import polars as pl
from bars import Bars
from fastapi import FastAPI

import closedloop.kpi
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi import api, store
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.domain.buckets import Bucketing, encode, needed_columns
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.columns import COLUMNS, MINUTE
from closedloop.kpi.domain.cover import Calendar
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.main import calm_collector
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.rollup import RollUp
from closedloop.kpi.settings import MEGABYTE, KpiSettings
from closedloop.kpi.values import Values
from closedloop.local.issuer import Issuer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

BAR_MS = 50.0
WARMING = 3
"""So many other requests for each that is measured have warmed the cache."""
MOST_OF_AN_HOUR = 2.0
"""So much may the reading of a year's window take of that of an hour's."""
DAYS = 365
TOPIC = "evaluations"
INDICATOR = "dissatisfied_share"
ZONE = ZoneInfo("Asia/Shanghai")
CODES = {
    "region": [f"R{n:02d}" for n in range(20)],
    "product": ["broadband", "leased_line", "mobile", "iptv", "cloud"],
    "channel": ["hotline", "business_hall", "web", "app", "sms"],
    "customer_class": ["diamond", "gold", "silver", "regular"],
    "process": ["business_support", "e_channel", "business_hall", "tariff", "promotion"],
}
TODAY = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)


def day_of_events(day: int, count: int, columns: frozenset[str], chance: np.random.Generator) -> pl.DataFrame:
    """Raw columns of ratings at random minutes of a UTC day."""
    values: dict[str, Any] = {name: np.array(codes)[chance.integers(0, len(codes), count)] for name, codes in CODES.items()}
    values |= {"type": ["evaluation.submitted.v1"] * count, "kind": ["survey"] * count}
    values["score"] = chance.integers(1, 11, count).astype(float)
    known = {name: pl.Series(values[name], dtype=COLUMNS[TOPIC][name]) for name in columns if name in values}
    nothing = {name: pl.Series([None] * count, dtype=COLUMNS[TOPIC][name]) for name in columns if name not in values}
    minutes = pl.Series(day * 1440 + np.sort(chance.integers(0, 1440, count)), dtype=pl.Int32)
    return pl.DataFrame(known | nothing | {MINUTE: minutes})


async def fill(pool: Pool, catalogue: Catalogue, buckets: int) -> None:
    """A year up to today, a segment a day, then the jobs."""
    chance = np.random.default_rng(5)
    bucketing = Bucketing.of(catalogue, TOPIC)
    last = int(TODAY.timestamp()) // 86_400
    for day in range(last - DAYS, last):
        folded = bucketing.fold(day_of_events(day, buckets // DAYS, needed_columns(catalogue, TOPIC), chance))
        segment = store.Segment("bucket", TOPIC, day, store.ALL_PARTITIONS, len(folded), len(folded), encode(folded))
        async with pool.acquire() as connection:
            await store.insert(connection, [segment])
    started, used = time.perf_counter(), time.process_time()
    await RollUp(pool, Calendar(ZONE)).roll_up()
    print(f"rolled up {DAYS} days in {time.perf_counter() - started:.1f} s ({time.process_time() - used:.1f} CPU-s here)")
    await Compaction(pool, timedelta(days=400)).compact()
    for kind, rows, nbytes in await pool.fetch("SELECT kind, sum(rows), sum(octet_length(data)) FROM segment GROUP BY kind"):
        print(f"  {kind:7} {int(rows):>10,} buckets  {int(nbytes) / 1e6:7.1f} MB")


def requests(count: int, chance: random.Random) -> list[tuple[str, dict[str, str]]]:
    """(kind, parameters): one series or the regions, by days over the year or by hours over a month, at midnight or odd minutes."""
    found = []
    for _ in range(count):
        odd = chance.random() < 0.5
        by_hours = chance.random() < 0.3
        to = TODAY - timedelta(days=chance.randrange(0, 5))
        if odd:
            to -= timedelta(minutes=chance.randrange(1440))
        back = chance.randrange(1, 17 if by_hours else DAYS - 40)
        parameters = {"window": chance.choice(["24h", "7d", "30d", "month"]), "step": "1h" if by_hours else "1d"}
        parameters |= {"to": to.isoformat(), "from": (to - timedelta(days=back)).isoformat()}
        if chance.random() < 0.5:
            kind = "one series"
            parameters |= {name: chance.choice(codes) for name, codes in CODES.items()}
        else:
            kind = "by region"
            parameters |= {"group_by": "region"}
        found.append((f"{kind}, {'hours' if by_hours else 'days'}{', odd edges' if odd else ''}", parameters))
    return found


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


async def ask(client: httpx2.AsyncClient, parameters: dict[str, str]) -> tuple[float, int]:
    """Milliseconds until the whole answer was there, and its points."""
    started = time.perf_counter()
    answer = await client.get(f"/v1/indicators/{INDICATOR}/series", params=parameters)
    taken = (time.perf_counter() - started) * 1000
    assert answer.status_code == 200, answer.text
    return taken, len(answer.json()["points"])


async def time_of(work: Callable[[], Awaitable[object]], times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


@contextlib.asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def measure(url: str, folder: Path, buckets: int, count: int) -> Bars:
    settings = KpiSettings()
    catalogue = load_catalogue()
    pool = await create_pool(url, "kpi")
    await fill(pool, catalogue, buckets)
    issuer = Issuer(folder / "issuer")
    environment = issuer.environment()
    auth = AuthSettings(issuer=environment["AUTH_ISSUER"], jwks_url=environment["AUTH_JWKS_URL"])
    app = create_app("kpi", "benchmark", authenticator=Authenticator(auth), health=Health(), routers=[api.router], lifespan=nothing)
    reader = BucketReader(pool, catalogue, settings.bucket_cache_mb * MEGABYTE, ZONE)
    app.state.catalogue, app.state.zone = catalogue, ZONE
    app.state.values = Values(EventValues(reader, catalogue, ZONE), ReportedValues(Measurements(pool, ZONE), ZONE), catalogue)
    calm_collector()  # as the service does
    headers = {"Authorization": f"Bearer {issuer.mint('analyst', 'ann', ('*',))}"}
    transport = httpx2.ASGITransport(app=app)
    asked = requests(count, random.Random(11))
    warm: dict[str, list[float]] = {}
    async with httpx2.AsyncClient(transport=transport, base_url="http://kpi", headers=headers, timeout=60) as client:
        cold = []
        for _, parameters in asked[:8]:
            reader.cache.clear()
            cold.append((await ask(client, parameters))[0])
        for _, parameters in requests(WARMING * count, random.Random(12)):
            await ask(client, parameters)
        points = []
        for kind, parameters in asked:
            taken, number = await ask(client, parameters)
            warm.setdefault(kind, []).append(taken)
            points.append(number)
        size = f"{statistics.median(points):,.0f} points each, at most {max(points):,}"
        print(f"{count} requests, {size}; the cache holds {reader.cache.nbytes / 1e6:.0f} MB")
        for kind, times in sorted(warm.items()):
            print(f"  {kind:28} {len(times):4}  p50 {percentile(times, 0.5):6.1f} ms  p99 {percentile(times, 0.99):6.1f} ms")
        share = catalogue.counted(INDICATOR)
        assert share is not None
        end = int(TODAY.timestamp()) // 60

        async def window(start: int) -> None:
            await reader.figures(TOPIC, share.parts, ("region",), [(start, end)])

        year, hour = [await time_of(functools.partial(window, start), 50) for start in (end - DAYS * 1440, end - 60)]
    await pool.close()
    everything = [taken for times in warm.values() for taken in times]
    p50, p99 = percentile(everything, 0.5), percentile(everything, 0.99)
    print(f"cold: p50 {percentile(cold, 0.5):.0f} ms, at most {max(cold):.0f} ms")
    print(f"a year's window {year:.1f} ms, an hour's {hour:.1f} ms; warm p50 {p50:.1f} ms")
    bars = Bars()
    bars.at_most("a year's window, of an hour's", year / hour, MOST_OF_AN_HOUR)
    bars.at_most("warm p99", p99, BAR_MS, " ms")
    return bars


async def fresh_database(admin_url: str) -> tuple[str, str]:
    connection = await asyncpg.connect(admin_url)
    await connection.execute("CREATE DATABASE bench_series")
    await connection.close()
    parts = urlsplit(admin_url)
    return urlunsplit(
        parts._replace(path="/bench_series")
    ), f"postgresql://bench_kpi:secret@{parts.hostname}:{parts.port}/bench_series"


def main() -> None:
    """Print the figures; the exit code is 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=4_000_000)
    parser.add_argument("--requests", type=int, default=400)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="closedloop-bench-"))
    folder.chmod(0o755)
    postgres = PostgresServer(folder / "postgres", free_port(), password="bench")
    try:
        postgres.start()
        admin, url = asyncio.run(fresh_database(postgres.admin_url))
        os.environ["DATABASE_URL"] = admin
        migrate("kpi", url, Path(closedloop.kpi.__file__).parent / "migrations")
        bars = asyncio.run(measure(url, folder, options.buckets, options.requests))
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    bars.exit()


if __name__ == "__main__":
    main()
