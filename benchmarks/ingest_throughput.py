"""How fast ingest is, against the least that an HTTP → Kafka endpoint can do (`ingest_bare.py`), in the same run.

Two such endpoints: `peer` decodes each event with msgspec and group-commits the bytes, which is what was measured to be possible
before ingest was written (302,000 events/s in batches of 500 on two cores); `bytes` does not even look at them. All are uvicorn
processes (uvloop, httptools) before one real Kafka with acks=all; ingest has auth, limits, validation, regions, rates and
metrics on. Same bodies and compression, medians of three rounds in turn. Prints events/s, latency, CPU seconds per million events,
and the ratios; the bar is against `peer`: single ≥ 0.4, 500 a request ≥ 0.5, no failed request.

    python benchmarks/ingest_throughput.py [--seconds 4] [--rounds 3] [--only single batch-8 …] [--compression zstd]
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import psutil
from bars import Bars

from closedloop.common.events.topics import EVALUATIONS, Topic
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.local.issuer import Issuer
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port

HERE = Path(__file__).resolve().parent
SEED = 20261120
BATCH = 500


@dataclass(frozen=True)
class Scenario:
    """One way of sending. `bar`: the least ratio to the peer; None: told, not promised."""

    name: str
    path: str
    content_type: str
    per_request: int
    connections: int
    bar: float | None


SCENARIOS = (
    Scenario("single", "/v1/events", "application/cloudevents+json", 1, 64, 0.4),
    Scenario("batch-8", "/v1/events", "application/cloudevents-batch+json", BATCH, 8, 0.5),
    Scenario("batch-64", "/v1/events", "application/cloudevents-batch+json", BATCH, 64, 0.5),
    Scenario("objects-8", "/v1/evaluations", "application/json", BATCH, 8, None),
)


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="closedloop-bench-") as folder:
        kafka = KafkaServer(Path(folder) / "kafka", free_port())
        kafka.start()
        try:
            _measure(Path(folder), kafka.bootstrap, arguments)
        finally:
            kafka.stop()


def _measure(folder: Path, bootstrap: str, arguments: argparse.Namespace) -> None:
    bare_topic = Topic("bare", key="none", types=EVALUATIONS.types, consumers=(), description="bare")
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap)))
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=bootstrap), (bare_topic,)))
    issuer = Issuer(folder / "issuer")
    token = issuer.mint("producer", regions=[f"R{n:02d}" for n in range(20)])
    ports = {"bytes": free_port(), "peer": free_port(), "ingest": free_port()}
    bare = {
        name: [sys.executable, str(HERE / "ingest_bare.py"), str(ports[name]), bootstrap, "bare", arguments.compression, *more]
        for name, more in (("bytes", []), ("peer", ["decode"]))
    }
    environment = {
        **os.environ,
        **issuer.environment(),
        "KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_PORT": str(ports["ingest"]),
        "INGEST_COMPRESSION": arguments.compression,
        "INGEST_RATE_EVENTS_PER_S": "2000000",  # on, and above what is measured
        "INGEST_RATE_BURST_EVENTS": "4000000",
        "LOG_LEVEL": "WARNING",
        "INGEST_LOG_LEVEL": "WARNING",
    }
    servers = {
        **{name: subprocess.Popen(command) for name, command in bare.items()},
        "ingest": subprocess.Popen([sys.executable, "-m", "closedloop.ingest", "serve"], env=environment),
    }
    try:
        for name in servers:
            _wait_ready(ports[name], *(("/readyz", 200) if name == "ingest" else ("/", 202)))
        bars = Bars()
        for scenario in SCENARIOS:
            if not arguments.only or scenario.name in arguments.only:
                _compare(scenario, folder, servers, ports, token, arguments, bars)
        bars.exit()
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait(20)


def _compare(
    scenario: Scenario,
    folder: Path,
    servers: dict[str, subprocess.Popen[bytes]],
    ports: dict[str, int],
    token: str,
    arguments: argparse.Namespace,
    bars: Bars,
) -> None:
    file = folder / f"{scenario.name}.requests"
    file.write_bytes(msgspec.msgpack.encode(_requests(scenario, token)))
    rates: dict[str, list[float]] = {name: [] for name in servers}
    failed = 0
    for _ in range(arguments.rounds):
        for name, server in servers.items():
            if name == "peer" and scenario.path != "/v1/events":
                continue  # it decodes events
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            out = subprocess.run(
                [sys.executable, HERE / "http_load.py", str(ports[name]), file, str(scenario.connections), str(arguments.seconds)],
                check=True,
                capture_output=True,
            )
            after = process.cpu_times()
            told = json.loads(out.stdout)
            events = told["answers"] * scenario.per_request
            # CPU of the warm-up is in the difference, so it is scaled to the events of the measured time
            share = arguments.seconds / (arguments.seconds + 1.0)
            cpu = (after.user + after.system - before.user - before.system) * share
            rates[name].append(events / told["seconds"])
            failed += told["failures"]
            print(
                f"  {scenario.name:10} {name:8} {rates[name][-1]:9,.0f} events/s  p50 {told['p50_ms']:.1f} ms  "
                f"p99 {told['p99_ms']:.1f} ms  {cpu / events * 1e6:.1f} CPU-s/M  {told['failures']} failed"
                + (f"  {told['first_failure']}" if told["failures"] else ""),
                flush=True,
            )
    medians = {name: statistics.median(of) for name, of in rates.items() if of}
    ratios = {name: medians["ingest"] / rate for name, rate in medians.items() if name != "ingest"}
    told_ratios = ", ".join(f"{ratio:.2f} of {name}" for name, ratio in ratios.items())
    print(f"{scenario.name}: ingest {medians['ingest']:,.0f}/s, {told_ratios}", flush=True)
    if scenario.bar is not None:
        bars.at_least(f"{scenario.name}: ingest / peer", ratios["peer"], scenario.bar)
    bars.at_most(f"{scenario.name}: failed requests", failed, 0)


def _requests(scenario: Scenario, token: str) -> list[bytes]:
    rnd = random.Random(SEED)
    count = 20_000 if scenario.per_request == 1 else 64
    made = []
    for _ in range(count):
        if scenario.path == "/v1/events":
            events = [_event(rnd) for _ in range(scenario.per_request)]
        else:
            events = [_object(rnd) for _ in range(scenario.per_request)]
        body = msgspec.json.encode(events[0] if scenario.per_request == 1 else events)
        head = (
            f"POST {scenario.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {scenario.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def _data(rnd: random.Random) -> dict[str, object]:
    return {
        "customer_id": f"C{rnd.randrange(1_000_000):07d}",
        "region": f"R{rnd.randrange(20):02d}",
        "product": rnd.choice(("broadband", "mobile", "leased_line")),
        "channel": rnd.choice(("hotline", "web", "app", "sms")),
        "kind": "sms_rating",
        "score": rnd.randrange(1, 11),
        "contact_id": f"k-{rnd.getrandbits(40):010x}",
        "agent_id": f"a-{rnd.randrange(1000)}",
    }


def _time(rnd: random.Random) -> str:
    at = datetime.now(UTC) - timedelta(milliseconds=rnd.randrange(3_600_000))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(rnd: random.Random) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"e-{rnd.getrandbits(64):016x}",
        "source": "/csp/nanjing",
        "type": "evaluation.submitted.v1",
        "time": _time(rnd),
        "datacontenttype": "application/json",
        "data": _data(rnd),
    }


def _object(rnd: random.Random) -> dict[str, object]:
    return {"occurred_at": _time(rnd), **_data(rnd)}


def _wait_ready(port: int, path: str, status: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            ask = httpx2.get if status == 200 else httpx2.post
            if ask(f"http://127.0.0.1:{port}{path}").status_code == status:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"the server on port {port} is not ready after 20 s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--compression", default="zstd")
    return parser.parse_args()


if __name__ == "__main__":
    main()
