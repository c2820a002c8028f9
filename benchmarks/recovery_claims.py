"""How fast customers are claimed over REST, against what plain SQL does in the same run.

The peer: ten connections that take the head of a bare table with `FOR UPDATE SKIP LOCKED`, nothing else. The service does the
same with a token, regions, the contact limit, a history row and HTTP around it. Bars: ratio ≥ 0.2, no customer given twice with
200 agents, p50 with 1,000,000 waiting ≤ 1.5 times that with 1,000.

    python benchmarks/recovery_claims.py [--claims 6000] [--rounds 3] [--waiting 1000000]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import msgspec
import psutil
import uvloop
from bars import Bars

from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.local.issuer import Issuer
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer

HERE = Path(__file__).resolve().parent
AGENTS = 200
CALM_AGENTS = 10  # who do not keep the machine fully busy: with more, a claim's time is that of the queue in front of it
PEER_CONNECTIONS = 10
PEER_SECONDS = 3.0
CYCLE_SECONDS = 5
FEW = 1000

_FILL = """
INSERT INTO recovery.recovery (recovery_id, customer_id, region, segment, phone, status, dissatisfied_at, deadline, due_at,
                               queued_at)
SELECT gen_random_uuid(), 'C' || n, 'R' || n % 20, 'outbound_city', '+8613800138000', 'waiting', t, t + '2 h', t + '2 h', t
FROM (SELECT n, clock_timestamp() - n * interval '5 ms' AS t FROM generate_series(1, $1::int) AS n) AS made"""
_PEER = """
CREATE TABLE IF NOT EXISTS peer (id bigint PRIMARY KEY, due_at timestamptz NOT NULL, held_by text, lease_until timestamptz);
TRUNCATE peer;
INSERT INTO peer SELECT n, clock_timestamp() + n * interval '1 ms' FROM generate_series(1, 200000) AS n;
CREATE INDEX IF NOT EXISTS peer_next ON peer (due_at) WHERE held_by IS NULL"""
_PEER_CLAIM = """
UPDATE peer SET held_by = $1, lease_until = now() + interval '10 min' WHERE id = (
    SELECT id FROM peer WHERE held_by IS NULL ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--claims", type=int, default=6000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--waiting", type=int, default=1_000_000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="closedloop-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        kafka = KafkaServer(folder / "kafka", free_port())
        postgres = PostgresServer(folder / "postgres", free_port(), "bench")
        kafka.start()
        postgres.start()
        try:
            asyncio.run(ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap)))
            _measure(folder, kafka, postgres, chosen)
        finally:
            kafka.stop()
            postgres.stop()


def _measure(folder: Path, kafka: KafkaServer, postgres: PostgresServer, chosen: argparse.Namespace) -> None:
    issuer = Issuer(folder / "issuer")
    port = free_port()
    environment = {
        **os.environ,
        **issuer.environment(),
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "DATABASE_URL": postgres.admin_url,
        "RECOVERY_DATABASE_URL": f"postgresql://closedloop_recovery:bench@127.0.0.1:{postgres.port}/postgres",
        "RECOVERY_PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }
    run = [sys.executable, "-m", "closedloop.recovery"]
    subprocess.run([*run, "migrate"], env=environment, check=True)
    with subprocess.Popen([*run, "serve"], env=environment) as service:
        try:
            _until_ready(port)
            fast = [_round(n, folder, postgres, issuer, port, service.pid, chosen) for n in range(chosen.rounds)]
            ratio = statistics.median(rest["claims"] / rest["seconds"] / peer for peer, rest in fast)
            doubles = sum(rest["doubles"] for _, rest in fast)
            sizes = [FEW, chosen.waiting] * chosen.rounds  # in turn: what else the machine does falls on both
            slow = [(size, _cycle(folder, postgres, issuer, port, size, CALM_AGENTS)) for size in sizes]
            few, many = (statistics.median(told["p50_ms"] for size, told in slow if size == one) for one in (FEW, chosen.waiting))
            crowd = _cycle(folder, postgres, issuer, port, FEW, AGENTS)
            doubles += crowd["doubles"] + sum(told["doubles"] for _, told in slow)
            bars = Bars()
            bars.at_least("claims over REST / plain SQL", ratio, 0.2)
            bars.at_most(f"p50 of a claim with {chosen.waiting:,} waiting / with {FEW:,}", many / few, 1.5)
            bars.at_most(f"customers given twice, with {AGENTS} agents and with {CALM_AGENTS}", doubles, 0)
        finally:
            service.terminate()
    bars.exit()


def _round(
    n: int, folder: Path, postgres: PostgresServer, issuer: Issuer, port: int, pid: int, chosen: argparse.Namespace
) -> tuple[float, dict[str, Any]]:
    peer = uvloop.run(_peer(postgres.admin_url))
    asyncio.run(_refill(postgres.admin_url, chosen.claims + FEW))
    tokens = [issuer.mint("agent", f"round-{n}-agent-{i}") for i in range(chosen.claims)]
    _load(folder, tokens, port, "warm", AGENTS)
    before = _cpu_seconds(pid)
    rest = _load(folder, tokens, port, "once", AGENTS)
    cpu = (_cpu_seconds(pid) - before) / rest["claims"] * 1e6
    print(
        f"round {n + 1}: plain SQL {peer:,.0f}/s, REST {rest['claims'] / rest['seconds']:,.0f}/s, "
        f"p50 {rest['p50_ms']:.1f} ms, p99 {rest['p99_ms']:.1f} ms with {AGENTS} connections, "
        f"{cpu:.0f} µs of the service's CPU each"
    )
    return peer, rest


def _cycle(folder: Path, postgres: PostgresServer, issuer: Issuer, port: int, waiting: int, agents: int) -> dict[str, Any]:
    asyncio.run(_refill(postgres.admin_url, waiting))
    told = _load(folder, [issuer.mint("agent", f"agent-{i}") for i in range(agents)], port, "cycle", CYCLE_SECONDS)
    print(
        f"{waiting:>9,} waiting: {agents} agents claim and give back {told['claims'] / told['seconds']:,.0f} times a second, "
        f"claim p50 {told['p50_ms']:.1f} ms, p99 {told['p99_ms']:.1f} ms"
    )
    return told


def _load(folder: Path, tokens: list[str], port: int, mode: str, amount: int) -> dict[str, Any]:
    file = folder / "tokens"
    file.write_bytes(msgspec.msgpack.encode([token.encode() for token in tokens]))
    command = [sys.executable, str(HERE / "claim_load.py"), str(port), str(file), mode, str(amount)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert not told["failures"], told["first_failure"]
    return told


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _refill(url: str, waiting: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE recovery.recovery CASCADE")
    await connection.execute(_FILL, waiting)
    await connection.execute("VACUUM ANALYZE recovery.recovery")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _peer(url: str) -> float:
    pool = await asyncpg.create_pool(url, min_size=PEER_CONNECTIONS, max_size=PEER_CONNECTIONS)
    await pool.execute(_PEER)
    await pool.execute("VACUUM ANALYZE peer")
    claims = 0

    async def work(agent: str) -> None:
        nonlocal claims
        async with pool.acquire() as connection:
            while time.perf_counter() < until:
                await connection.fetchrow(_PEER_CLAIM, agent)
                claims += 1

    until = time.perf_counter() + PEER_SECONDS
    await asyncio.gather(*(work(f"agent {n}") for n in range(PEER_CONNECTIONS)))
    await pool.close()
    return claims / PEER_SECONDS


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the service is not ready; run it by hand to see why")


if __name__ == "__main__":
    main()
