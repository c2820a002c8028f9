"""The service as a process: it starts, it ends cleanly under load, and what it acknowledged is there."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.local.issuer import Issuer
from closedloop.local.ports import free_port
from ingest.door import STRUCTURED, ends_of, example, records_since


class Served:
    """`python -m closedloop.ingest serve`."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        issuer = Issuer(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"authorization": f"Bearer {issuer.mint('producer')}", "content-type": STRUCTURED}
        self.log = folder / "ingest.log"
        environment = {**os.environ, **issuer.environment(), "KAFKA_BOOTSTRAP": bootstrap, "INGEST_PORT": str(self.port)}
        command = [sys.executable, "-m", "closedloop.ingest", "serve"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"ingest is not ready: {self.log.read_text()}")


@pytest.fixture
def served(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Served]:
    asyncio.run(ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), INPUT_TOPICS))
    running = Served(kafka_bootstrap, tmp_path)
    running.wait_ready()
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_ended_under_load_everything_acknowledged_is_stored(
    served: Served, kafka_bootstrap: str, how: signal.Signals
) -> None:
    starts = await ends_of(kafka_bootstrap)
    acknowledged: set[str] = set()
    attempted: set[str] = set()
    ended = asyncio.Event()

    async def send(client: httpx2.AsyncClient, sender: int) -> None:
        n = 0
        while not ended.is_set():
            attempted.add(name := f"{sender}-{n}")
            n += 1
            try:
                answer = await client.post("/v1/events", json=example(id=name, data={"customer_id": name}), headers=served.headers)
            except httpx2.TransportError:
                await asyncio.sleep(0.01)
                continue
            if answer.status_code == 202:
                acknowledged.add(name)
            else:
                assert answer.status_code == 503

    async with httpx2.AsyncClient(base_url=served.url) as client:
        senders = [asyncio.create_task(send(client, sender)) for sender in range(16)]
        while len(acknowledged) < 300:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        served.process.send_signal(how)
        code = await asyncio.to_thread(served.process.wait, 20)
        assert time.monotonic() - started < 20
        ended.set()
        await asyncio.gather(*senders)
    assert code == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    stored = [record.value for record in await records_since(kafka_bootstrap, starts)]
    ids = {name for name in attempted if any(f'"id":"{name}"'.encode() in value for value in stored)}
    assert acknowledged <= ids
    if how is signal.SIGTERM:
        assert len(stored) == len(ids)
        assert "Traceback" not in served.log.read_text()


def test_it_ends_cleanly_where_kafka_never_was(tmp_path: Path) -> None:
    waiting = Served(f"127.0.0.1:{free_port()}", tmp_path)
    try:
        deadline = time.monotonic() + 20
        while "waiting for Kafka" not in waiting.log.read_text():
            assert time.monotonic() < deadline, waiting.log.read_text()
            time.sleep(0.05)
        assert httpx2.get(f"{waiting.url}/livez").status_code == 200
        answer = httpx2.get(f"{waiting.url}/readyz")
        assert (answer.status_code, list(answer.json()["problems"])) == (503, ["kafka"])
        waiting.process.terminate()
        assert waiting.process.wait(20) == 0
    finally:
        waiting.process.kill()
        waiting.process.wait()


def test_a_phone_number_never_reaches_the_log(served: Served) -> None:
    event = example(data={"phone": "13912345678"})
    for body in (b'{"phone": "+8613912345678"', b"{}"):
        httpx2.post(f"{served.url}/v1/events", content=body, headers=served.headers)
    httpx2.post(f"{served.url}/v1/events", json=event, headers=served.headers)
    served.process.terminate()
    served.process.wait(20)
    assert "13912345678" not in served.log.read_text()


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(served: Served) -> None:
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {served.headers['authorization']}\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall((head + f"Content-Type: {STRUCTURED}\r\nContent-Length: 100\r\n\r\n{{").encode())
        deadline = time.monotonic() + 10
        while "ingest_held_bytes 1.0" not in httpx2.get(f"{served.url}/metrics").text:
            assert time.monotonic() < deadline
    while "ingest_held_bytes 0.0" not in httpx2.get(f"{served.url}/metrics").text:
        assert time.monotonic() < deadline
    assert "Traceback" not in served.log.read_text()
