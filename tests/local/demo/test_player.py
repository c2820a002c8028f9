"""The demo against an ingest that this test plays: everything arrives, also when ingest asks to wait or is away."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from closedloop.local.demo.player import Ingest, play
from closedloop.local.demo.results import Tickets
from closedloop.local.demo.traffic import Said
from closedloop.local.issuer import Issuer
from closedloop.local.ports import free_port
from closedloop.local.problems import LocalStackError


class _Ingest:
    """Answers with the given statuses first, then accepts; remembers what it accepted."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.accepted: list[dict[str, object]] = []
        self.tickets: list[dict[str, str]] = []
        self.scopes: set[str] = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, {"items": outer.tickets})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                token = self.headers["Authorization"].removeprefix("Bearer ")
                outer.scopes.add(jwt.decode(token, options={"verify_signature": False})["scope"])
                assert self.headers["Content-Type"] == "application/cloudevents-batch+json"
                status, answer = outer.answers.pop(0) if outer.answers else (202, {"accepted": len(body), "rejected": []})
                if status == 202:
                    outer.accepted += body
                self._answer(status, answer)

            def _answer(self, status: int, answer: object) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *args: object) -> None:
                pass

        self.port = free_port()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def ingest() -> Iterator[_Ingest]:
    playing = _Ingest()
    yield playing
    playing.close()


def test_history_and_hours_arrive_once_each_in_the_order_of_their_time(
    ingest: _Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_PORT", str(ingest.port))
    play(tmp_path, speed=3600, rate=0.5, hours_back=2, history_days=2, seconds=3)
    times = [str(event["time"]) for event in ingest.accepted]
    assert times == sorted(times)
    assert len({str(event["id"]) for event in ingest.accepted}) == len(times)
    kinds = {str(event["type"]) for event in ingest.accepted}
    assert {"complaint.registered.v1", "evaluation.submitted.v1", "order.status_changed.v1"} <= kinds
    assert ingest.scopes == {"events:write"}


def _said(count: int) -> list[Said]:
    return [Said(datetime(2026, 11, 1, tzinfo=UTC), f"e-{n}", "enquiry.registered.v1", {}) for n in range(count)]


def test_while_ingest_asks_to_wait_it_waits_and_then_sends_the_same(ingest: _Ingest, tmp_path: Path) -> None:
    notes: list[str] = []
    ingest.answers = [(503, {}), (429, {})]
    Ingest(ingest.port, Issuer(tmp_path), notes.append).post(_said(3))
    assert [event["id"] for event in ingest.accepted] == ["e-0", "e-1", "e-2"]
    assert notes == ["ingest asks to wait (503)", "ingest asks to wait (429)"]


def test_a_refusal_ends_the_demo_with_what_ingest_said(ingest: _Ingest, tmp_path: Path) -> None:
    ingest.answers = [(202, {"accepted": 0, "rejected": [{"index": 0, "problem": {"detail": "data.region is missing"}}]})]
    with pytest.raises(LocalStackError, match=r"refused the demo's events \(202\).*data\.region is missing"):
        Ingest(ingest.port, Issuer(tmp_path), print).post(_said(1))


def test_without_a_running_system_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="start it with 'make run'"):
        Ingest(free_port(), Issuer(tmp_path), print).check()


def test_each_ticket_that_is_opened_meanwhile_is_named_once_with_its_address(ingest: _Ingest, tmp_path: Path) -> None:
    ingest.tickets = [{"id": "old", "title": "Opened before"}]
    tickets = Tickets(ingest.port, Issuer(tmp_path))
    assert tickets.new() == []
    ingest.tickets = [{"id": "b", "title": "Second"}, {"id": "a", "title": "First"}, *ingest.tickets]
    assert tickets.new() == [
        f"ticket: First  http://127.0.0.1:{ingest.port}/v1/tickets/a",
        f"ticket: Second  http://127.0.0.1:{ingest.port}/v1/tickets/b",
    ]
    assert tickets.new() == []


def test_a_ticketing_that_is_away_does_not_stop_the_demo(tmp_path: Path) -> None:
    assert Tickets(free_port(), Issuer(tmp_path)).new() == []
