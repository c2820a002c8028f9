"""What an event costs ingest, by how many come in one request: the numbers of "Speed" in docs/integrating.md.

One sender, one request at a time, one real Kafka with acks=all. Prints ingest's CPU time per event, which a busy machine hardly
changes, as a ratio to that of events in requests of 500 each, and events/s as a ratio to that. About 40 s.
"""

import asyncio
import gzip
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.local.issuer import Issuer
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port

SECONDS = 4.0
WARM_UP_S = 0.5
BODIES = 6
ONE, MANY, LINES = "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson"
NOW = datetime.now(UTC).isoformat()
REFERENCE = "500"


def rating(number: int) -> dict[str, Any]:
    data = {"customer_id": f"C{number:07d}", "region": "NJ", "kind": "survey", "score": 9, "channel": "web", "product": "broadband"}
    return {
        "specversion": "1.0",
        "type": "evaluation.submitted.v1",
        "source": "/bench",
        "id": str(uuid.uuid4()),
        "time": NOW,
        "data": data,
    }


def batches(size: int) -> list[bytes]:
    return [json.dumps([rating(number) for number in range(size)]).encode() for _ in range(BODIES)]


def bare_objects(size: int) -> list[bytes]:
    made = [
        [{"occurred_at": NOW, "id": str(uuid.uuid4()), **rating(number)["data"]} for number in range(size)] for _ in range(BODIES)
    ]
    return ["\n".join(map(json.dumps, each)).encode() for each in made]


def measure(
    port: int, server: psutil.Process, token: str, size: int, kind: str, bodies: list[bytes], **how: Any
) -> tuple[float, float]:
    """(events/s, microseconds of ingest's CPU per event)."""
    path = "/v1/evaluations" if kind == LINES else "/v1/events"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind} | how.get("headers", {})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    turn = itertools.cycle(bodies)
    for seconds in (WARM_UP_S, SECONDS):
        sent, cpu, began = 0, sum(server.cpu_times()[:2]), time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            if how.get("fresh"):
                connection.close()
            connection.request("POST", path, next(turn), headers)
            answer = connection.getresponse()
            assert answer.status == 202, answer.read()
            answer.read()
            sent += size
    return sent / took, (sum(server.cpu_times()[:2]) - cpu) / sent * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="closedloop-bench-") as name:
        folder = Path(name)
        kafka = KafkaServer(folder / "kafka", free_port())
        kafka.start()
        asyncio.run(ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap)))
        issuer, port = Issuer(folder / "issuer"), free_port()
        own = {"KAFKA_BOOTSTRAP": kafka.bootstrap, "INGEST_PORT": str(port), "LOG_LEVEL": "WARNING"}
        own |= {"INGEST_RATE_EVENTS_PER_S": "2000000", "INGEST_RATE_BURST_EVENTS": "4000000"}
        environment = {**os.environ, **issuer.environment(), **own}
        server = subprocess.Popen([sys.executable, "-m", "closedloop.ingest", "serve"], env=environment)
        try:
            wait_ready(port)
            compare(port, psutil.Process(server.pid), issuer.mint("producer"))
        finally:
            server.terminate()
            server.wait(20)
            kafka.stop()


def compare(port: int, server: psutil.Process, token: str) -> None:
    of_500 = batches(500)
    singles = [json.dumps(rating(number)).encode() for number in range(200)]
    zipped = {"headers": {"Content-Encoding": "gzip"}}
    found = {
        "1, a new connection each": measure(port, server, token, 1, ONE, singles, fresh=True),
        "1": measure(port, server, token, 1, ONE, singles),
        "10": measure(port, server, token, 10, MANY, batches(10)),
        "100": measure(port, server, token, 100, MANY, batches(100)),
        REFERENCE: measure(port, server, token, 500, MANY, of_500),
        "500, gzip": measure(port, server, token, 500, MANY, [gzip.compress(body, 6) for body in of_500], **zipped),
        "500, bare objects": measure(port, server, token, 500, LINES, bare_objects(500)),
        "5000": measure(port, server, token, 5000, MANY, batches(5000)),
    }
    rate, cpu = found[REFERENCE]
    print(f"{'events a request':26} {'CPU an event':>14} {'events/s':>10}")
    for name, (its_rate, its_cpu) in found.items():
        print(f"{name:26} {its_cpu / cpu:>13.2f}x {its_rate / rate:>9.2f}x")
    print(f"gzip: {len(of_500[0]) / len(gzip.compress(of_500[0], 6)):.0f} times fewer bytes")


def wait_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError("ingest is not ready")


if __name__ == "__main__":
    main()
