"""What a Docker engine is asked for when the tests run on containers. No engine was there where this was written: a recorder
answers in its place, and nothing is started.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from closedloop.local import testing_containers
from closedloop.local.ports import free_port
from closedloop.local.problems import LocalStackError


class Recorder(ThreadingHTTPServer):
    """Answers as an engine does whose containers start at once; keeps what was to be created."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.created: list[dict[str, Any]] = []
        self.removed = 0


class Answers(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/version"):
            self._json({"ApiVersion": "1.48", "MinAPIVersion": "1.24"})
        elif path.endswith("/logs"):
            line = b"[KafkaRaftServer nodeId=1] Kafka Server started\n"
            self._bytes(b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line, "application/vnd.docker.multiplexed-stream")
        elif "/exec/" in path:
            self._json({"ExitCode": 0})
        else:
            self._json(
                {"Id": "c1", "State": {"Status": "running"}, "Config": {"Tty": False}, "HostConfig": {}, "Image": "sha256:1"}
            )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path.partition("?")[0].endswith("/containers/create"):
            self.server.created.append(body)
        if self.path.endswith("/start") and "/exec/" in self.path:
            self._bytes(b"", "application/vnd.docker.raw-stream")
        else:
            self._json({"Id": "c1"})

    def do_DELETE(self) -> None:
        self.server.removed += 1
        self._json({})

    def _json(self, answer: object) -> None:
        self._bytes(json.dumps(answer).encode(), "application/json")

    def _bytes(self, answer: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", True, raising=False)
    recorder = Recorder()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{recorder.server_port}")
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    yield recorder
    recorder.shutdown()
    recorder.server_close()


def test_kafka_tells_its_clients_the_port_that_is_bound(engine: Recorder) -> None:
    with testing_containers.kafka() as bootstrap:
        (asked,) = engine.created
        assert asked["Image"] == testing_containers.KAFKA_IMAGE
        host, port = bootstrap.split(":")
        assert asked["HostConfig"]["PortBindings"]["9092/tcp"][0]["HostPort"] == port
        assert f"KAFKA_ADVERTISED_LISTENERS=INSIDE://localhost:19092,OUTSIDE://{host}:{port}" in asked["Env"]
        assert engine.removed == 0
    assert engine.removed == 1


def test_postgresqls_administrator_has_the_password_asked_for(engine: Recorder) -> None:
    with testing_containers.postgres("secret") as url:
        (asked,) = engine.created
        assert asked["Image"] == testing_containers.POSTGRES_IMAGE and "POSTGRES_PASSWORD=secret" in asked["Env"]
        port = asked["HostConfig"]["PortBindings"]["5432/tcp"][0]["HostPort"]
        assert url == f"postgresql://postgres:secret@127.0.0.1:{port}/postgres"
    assert engine.removed == 1


def test_without_an_engine_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(LocalStackError, match="no Docker engine answers"), testing_containers.kafka():
        pass
