"""What an import does with each answer of ingest. They come from a small HTTP server here; test_import_real has the real one."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from closedloop.cli.imports.ingest_client import IngestClient, Rejection
from closedloop.cli.problems import CommandFailed
from closedloop.local.ports import free_port

Answer = tuple[int, dict[str, str], dict[str, Any]]
Answering = Callable[[list[str]], Answer]


class Scripted:
    """An HTTP server that answers as told; `requests` are the lines of each request that it got."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.answering: Answering = taken
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                lines = self.rfile.read(int(self.headers["Content-Length"])).decode().split("\n")
                scripted.requests.append(lines)
                status, headers, body = scripted.answering(lines)
                raw = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(raw)), "Connection": "close"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def taken(lines: list[str]) -> Answer:
    return 202, {}, {"accepted": len(lines), "rejected": []}


def in_turn(*answers: Answer) -> Answering:
    left = list(answers)
    return lambda lines: left.pop(0) if left else taken(lines)


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    scripted.start()
    yield scripted
    scripted.stop()


class Pauses(list[float]):
    """The pauses that a client made."""


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def client(server: Scripted, pauses: Pauses) -> Iterator[IngestClient]:
    found = IngestClient(server.url, "token", "complaints", patience_s=100, sleep=pauses.append)
    yield found
    found.close()


def test_a_pause_that_is_asked_for_is_made_and_the_same_rows_are_sent_again(
    client: IngestClient, server: Scripted, pauses: Pauses
) -> None:
    server.answering = in_turn((429, {"Retry-After": "7"}, {}), (503, {"Retry-After": "3"}, {}))
    assert client.send([b"1", b"2"]) == []
    assert pauses == [7, 3]
    assert server.requests == [["1", "2"]] * 3


def test_patience_ends_with_a_sentence(client: IngestClient, server: Scripted, pauses: Pauses) -> None:
    server.answering = lambda lines: (503, {"Retry-After": "30"}, {})
    with pytest.raises(CommandFailed, match=r"not able to take events \(503\) for 100 s; run the same command again later"):
        client.send([b"1"])
    assert sum(pauses) >= 100


def test_every_refusal_is_told_though_an_answer_lists_only_a_hundred(client: IngestClient, server: Scripted) -> None:
    def refuse_odd(lines: list[str]) -> Answer:
        odd = [i for i, line in enumerate(lines) if int(line) % 2]
        listed = [{"index": i, "problem": {"detail": f"odd {lines[i]}"}} for i in odd[:100]]
        return 202, {}, {"accepted": len(lines) - len(odd), "rejected": listed, "rejected_total": len(odd)}

    server.answering = refuse_odd
    rejections = client.send([str(n).encode() for n in range(500)])
    assert sorted((r.index, r.reason) for r in rejections) == [(n, f"odd {n}") for n in range(1, 500, 2)]


def test_where_nothing_is_acceptable_each_row_has_its_reason(client: IngestClient, server: Scripted) -> None:
    def refuse_all(lines: list[str]) -> Answer:
        listed = [{"index": i, "problem": {"detail": f"no {line}"}} for i, line in enumerate(lines[:100])]
        return 422, {}, {"title": "…", "accepted": 0, "rejected": listed, "rejected_total": len(lines)}

    server.answering = refuse_all
    assert client.send([b"1", b"2"]) == [Rejection(0, "no 1"), Rejection(1, "no 2")]
    assert len(client.send([b"%d" % n for n in range(250)])) == 250


def test_a_batch_that_is_too_large_is_sent_in_parts_and_a_row_that_is_too_large_is_refused(
    client: IngestClient, server: Scripted
) -> None:
    server.answering = lambda lines: (413, {}, {"detail": "too large"}) if sum(map(len, lines)) > 5 else taken(lines)
    assert client.send([b"11", b"22", b"33", b"4444444", b"55"]) == [Rejection(3, "too large")]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"does not accept the token: expired. On the local stack `make token ROLE=producer` prints one"),
        (403, r"The token may not do this: expired. A producer's token is needed"),
        (404, r"is not an ingest service \(404\); name its address with --url"),
        (415, r"ingest refused the request \(415\): expired."),
    ],
)
def test_what_cannot_be_waited_out_is_a_sentence(client: IngestClient, server: Scripted, status: int, sentence: str) -> None:
    server.answering = lambda lines: (status, {}, {"detail": "expired."})
    with pytest.raises(CommandFailed, match=sentence):
        client.send([b"1", b"2"])


def test_an_ingest_that_goes_away_is_waited_for_and_one_that_never_was_is_told(pauses: Pauses) -> None:
    scripted = Scripted()
    scripted.start()
    client = IngestClient(scripted.url, "token", "orders", patience_s=5, sleep=pauses.append)
    try:
        assert client.send([b"1"]) == []
    finally:
        scripted.stop()
    with pytest.raises(CommandFailed, match="Ingest does not answer for 5 s"):
        client.send([b"2"])
    client.close()
    assert pauses
    other = IngestClient(scripted.url, "token", "orders", patience_s=5, sleep=pauses.append)
    with pytest.raises(
        CommandFailed, match=r"No ingest answers at http://127.0.0.1:\d+; start it \(make run\), or name its address"
    ):
        other.send([b"1"])
    other.close()


def test_an_address_that_is_none_is_told() -> None:
    client = IngestClient("ftp://x", "token", "orders", patience_s=5)
    with pytest.raises(CommandFailed, match="'ftp://x' is not an address"):
        client.send([b"1"])
    client.close()
