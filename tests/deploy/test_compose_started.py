"""docker-compose.yml started as far as that goes without an engine: its one-shot services and the four services, with its commands,
its settings and its health checks, each from what its image has, on a root that cannot be written and without any privilege. Kafka
and PostgreSQL are the local stack's, with the settings that the file gives them; only addresses differ.

What is NOT shown here, because no engine was there: the build of the images themselves, the published images of Kafka, PostgreSQL,
Prometheus and Grafana, volumes and their owners, networks, and limits of memory.
"""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from closedloop.local import prepare
from closedloop.local.addresses import SERVICES as NAMES
from closedloop.local.addresses import Ports, variable_of
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from closedloop.local.testing import temporary_folder
from deploy.compose_file import ENV, SERVICES
from deploy.confined import confined, needs_root
from deploy.installed import install, libraries, needed, variables

pytestmark = [needs_root, pytest.mark.timeout(600)]
READY_WITHIN_S = 120


class Unpacked:
    """The file's own services, without containers around them."""

    def __init__(self, folder: Path, kafka: KafkaServer, postgres: PostgresServer) -> None:
        self.ports = Ports.free()
        self._folder = folder
        self._state = folder / "state"
        self._state.mkdir()
        self._addresses = {
            "kafka:19092": kafka.bootstrap,
            "postgres:5432": f"127.0.0.1:{postgres.port}",
            "/state": str(self._state),
        }
        images = {service["build"]["args"]["SERVICE"] for service in SERVICES.values() if "build" in service}
        with ThreadPoolExecutor(2) as pool:
            self.installed = dict(zip(images, pool.map(install, images, repeat(folder)), strict=True))
        """Image → its environment."""

    def environment(self, name: str) -> dict[str, str]:
        """What the container of service `name` has, with our addresses."""
        image = SERVICES[name]["build"]["args"]["SERVICE"]
        given = {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}
        for theirs, ours in self._addresses.items():
            given = {key: value.replace(theirs, ours) for key, value in given.items()}
        ports = {variable_of(service): str(self.ports.of(service)) for service in NAMES}
        return {**variables(image, self.installed[image]), **given, **ports}

    def command(self, name: str, *instead: str) -> list[str]:
        """What the container of service `name` runs."""
        service = SERVICES[name]
        command = [*service.get("entrypoint", ["service"]), *(instead or service.get("command", ["serve"]))]
        writes = any(volume.startswith("issuer:") and not volume.endswith(":ro") for volume in service.get("volumes", ()))
        return confined(command, writable=[self._state] if writes else [])

    def once(self, name: str, *instead: str) -> str:
        """Run it to its end; what it printed."""
        command, environment = self.command(name, *instead), self.environment(name)
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (name, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(self.command(name), env=self.environment(name), cwd="/", stdout=log, stderr=log)

    def healthy(self, name: str) -> bool:
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return subprocess.run(check, env=self.environment(name), cwd="/", capture_output=True, check=False).returncode == 0

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()[-3000:]


@pytest.fixture
def unpacked() -> Iterator[Unpacked]:
    settings = {name: str(value) for name, value in SERVICES["kafka"]["environment"].items()}
    addresses = re.compile("LISTENER|VOTERS|LOG_DIRS|HEAP_OPTS|CLUSTER_ID")
    own = {k.removeprefix("KAFKA_").replace("_", ".").lower(): v for k, v in settings.items() if not addresses.search(k)}
    options = dict(option.split("=", 1) for option in SERVICES["postgres"]["command"] if "=" in option)
    with temporary_folder() as folder:
        kafka = KafkaServer(folder / "kafka", free_port(), overrides=own)
        postgres = PostgresServer(folder / "postgres", free_port(), password=ENV["POSTGRES_PASSWORD"], overrides=options)
        try:
            kafka.start()
            postgres.start()
            prepare.create_database(postgres.admin_url, postgres, folder)
            yield Unpacked(folder, kafka, postgres)
        finally:
            kafka.stop()
            postgres.stop()


def test_what_the_file_starts_takes_a_rating_to_the_queue(unpacked: Unpacked) -> None:
    assert unpacked.installed.keys() == {*NAMES, "tools"}
    for image, environment in unpacked.installed.items():
        assert libraries(environment) == needed(image), "exactly what it needs"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(unpacked.once, ["issuer", "topics", *(name for name in SERVICES if name.startswith("migrate-"))]))
    running = {name: unpacked.start(name) for name in NAMES}
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        for name, process in running.items():
            while not unpacked.healthy(name):
                assert process.poll() is None and time.monotonic() < deadline, (name, unpacked.said(name))
                time.sleep(0.5)
            assert "NoNewPrivs:\t1" in Path(f"/proc/{process.pid}/status").read_text()
        token = unpacked.once("token", "--role", "admin").strip()
        rating = {"customer_id": "C1", "region": "NJ", "kind": "sms_rating", "score": 2, "contact_id": "call-1"}
        rating["occurred_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        ingest, recovery = unpacked.ports.of("ingest"), unpacked.ports.of("recovery")
        assert _answer(f"http://127.0.0.1:{ingest}/v1/evaluations", token, rating)["accepted"] == 1
        deadline = time.monotonic() + 30
        while not _answer(f"http://127.0.0.1:{recovery}/v1/recoveries?customer_id=C1", token)["items"]:
            assert time.monotonic() < deadline, unpacked.said("recovery")
            time.sleep(0.1)
        for process in running.values():
            process.terminate()
        assert {name: process.wait(30) for name, process in running.items()} == dict.fromkeys(running, 0)
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _answer(url: str, token: str, body: dict[str, object] | None = None) -> Any:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)
