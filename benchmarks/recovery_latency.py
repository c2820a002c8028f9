"""From POST of a dissatisfied rating to claimable, at a steady rate: ingest, Kafka, recovery, all real and on this machine.

Every rating is dissatisfied and of a customer of his own, the worst case. One in twenty is watched: from before its POST is sent
until it stands in the queue for others to see. Bar: p99 ≤ 1 s at 1,000 events/s.

    python benchmarks/recovery_latency.py [--rate 1000] [--seconds 20]
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from claim_load import Line

from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.local.issuer import Issuer
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

CONNECTIONS = 64
WATCHED = 20
TICK_S = 0.01
PATIENCE_S = 20.0
_SEEN = "SELECT customer_id FROM recovery WHERE status = 'waiting' AND region = 'WATCHED' AND due_at > $1"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rate", type=int, default=1000)
    options.add_argument("--seconds", type=int, default=20)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="closedloop-bench-") as name, _running(Path(name)) as (port, url, token):
        times = sorted(uvloop.run(_measure(port, url, token, chosen.rate, chosen.seconds)))
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(
        f"{chosen.rate:,} dissatisfied ratings/s for {chosen.seconds} s, {len(times)} watched, from POST to claimable: "
        f"p50 {p50:.3f} s, p99 {p99:.3f} s (bar 1.000), longest {times[-1]:.3f} s"
    )


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[tuple[int, str, str]]:
    folder.chmod(0o755)
    kafka, postgres = KafkaServer(folder / "kafka", free_port()), PostgresServer(folder / "postgres", free_port(), "bench")
    issuer = Issuer(folder / "issuer")
    ports = {"ingest": free_port(), "recovery": free_port()}
    services: list[subprocess.Popen[bytes]] = []
    kafka.start()
    postgres.start()
    try:
        asyncio.run(ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap)))
        url = f"postgresql://closedloop_recovery:bench@127.0.0.1:{postgres.port}/postgres"
        environment = {
            **os.environ,
            **issuer.environment(),
            "KAFKA_BOOTSTRAP": kafka.bootstrap,
            "DATABASE_URL": postgres.admin_url,
            "RECOVERY_DATABASE_URL": url,
            "RECOVERY_PORT": str(ports["recovery"]),
            "INGEST_PORT": str(ports["ingest"]),
        }
        subprocess.run([sys.executable, "-m", "closedloop.recovery", "migrate"], env=environment, check=True)
        log = (folder / "services.log").open("wb")
        for service in ports:
            command = [sys.executable, "-m", f"closedloop.{service}", "serve"]
            services.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        asyncio.run(_until_ready([*ports.values()]))
        yield ports["ingest"], url, issuer.mint("producer", "bench")
    finally:
        for process in services:
            process.terminate()
        for process in services:
            process.wait(30)
        kafka.stop()
        postgres.stop()


async def _until_ready(ports: list[int]) -> None:
    async with asyncio.timeout(60):
        for port in ports:
            while True:
                with contextlib.suppress(OSError):
                    if (await (await _line(port)).ask(b"GET", b"/readyz", b"none"))[0] == 200:
                        break
                await asyncio.sleep(0.1)


async def _line(port: int) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


async def _measure(port: int, url: str, token: str, rate: int, seconds: int) -> list[float]:
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    idle: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await _line(port))
    watcher = asyncio.create_task(_watch(url, seen))

    async def post(n: int) -> None:
        watched = n % WATCHED == 0
        name = f"C{n}"
        rating = {
            "occurred_at": datetime.now(UTC).isoformat(),
            "customer_id": name,
            "region": "WATCHED" if watched else f"R{n % 20}",
            "kind": "sms_rating",
            "satisfied": False,
            "contact_id": f"K{n}",
        }
        if watched:
            sent[name] = time.perf_counter()
        line = await idle.get()
        status, body = await line.ask(b"POST", b"/v1/evaluations", token.encode(), msgspec.json.encode(rating))
        idle.put_nowait(line)
        assert status == 202, body

    posts: set[asyncio.Task[None]] = set()
    started = time.perf_counter()
    for n in range(rate * seconds):
        # open loop: a slow answer does not slow the customers down
        await asyncio.sleep(max(0.0, started + n / rate - time.perf_counter()))
        posts.add(asyncio.create_task(post(n)))
    await asyncio.gather(*posts)
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < len(sent) and time.monotonic() < deadline:
        await asyncio.sleep(TICK_S)
    watcher.cancel()
    assert len(seen) == len(sent), f"{len(sent) - len(seen)} of {len(sent)} never came into the queue"
    # the first seconds fill caches and buffers
    return [seen[name] - at for name, at in sent.items() if at > started + min(5, seconds / 4)]


async def _watch(url: str, seen: dict[str, float]) -> None:
    connection = await asyncpg.connect(url)
    since = await connection.fetchval("SELECT now() + interval '1 h'")
    while True:
        rows = await connection.fetch(_SEEN, since)
        now = time.perf_counter()
        for row in rows:
            seen.setdefault(row["customer_id"], now)
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    main()
