"""Posts the city's events to ingest as the demo's clock goes on, and shows where it stands."""

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from closedloop.local.addresses import Ports
from closedloop.local.demo.incidents import burst
from closedloop.local.demo.results import Tickets, where_to_look
from closedloop.local.demo.timeline import Timeline, clock, complaints_between
from closedloop.local.demo.traffic import Said, Traffic
from closedloop.local.issuer import Issuer
from closedloop.local.problems import LocalStackError

_BATCH = 1_000
_TOKEN_LIFE = timedelta(hours=6)


class Ingest:
    """The running stack's ingest service. Waits while it is away: nothing of the demo is lost or doubled."""

    def __init__(self, port: int, issuer: Issuer, say: Callable[[str], None]) -> None:
        self._port, self._say, self._issuer = port, say, issuer
        self._token, self._token_ends = "", datetime.min.replace(tzinfo=UTC)
        self.sent = 0

    def check(self) -> None:
        """LocalStackError where no stack is running."""
        try:
            status, _ = self._request("GET", "/readyz", b"")
        except OSError:
            status = 0
        if status != 200:
            raise LocalStackError(f"No system is ready on port {self._port}: start it with 'make run' in another window first.")

    def post(self, said: Sequence[Said]) -> None:
        """All of them accepted by Kafka when it returns."""
        for start in range(0, len(said), _BATCH):
            batch = said[start : start + _BATCH]
            body = json.dumps([event.cloud_event() for event in batch]).encode()
            pause = 0.5
            while not self._accepted(body):
                time.sleep(pause)
                pause = min(pause * 2, 5)
            self.sent += len(batch)

    def _accepted(self, body: bytes) -> bool:
        try:
            status, answer = self._request("POST", "/v1/events", body)
        except OSError as error:
            self._say(f"ingest does not answer ({type(error).__name__}); trying again")
            return False
        if status in (429, 503):
            self._say(f"ingest asks to wait ({status})")
            return False
        if status != 202 or json.loads(answer)["rejected"]:
            raise LocalStackError(f"ingest refused the demo's events ({status}): {answer[:500]}")
        return True

    def _request(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {self._fresh_token()}"}
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _fresh_token(self) -> str:
        now = datetime.now(UTC)
        if now >= self._token_ends:
            self._token = self._issuer.mint("producer", "demo")
            self._token_ends = now + _TOKEN_LIFE
        return self._token


def play(var: Path, *, speed: float, rate: float, hours_back: float, history_days: int, seconds: float | None) -> None:
    """Send the history, then play: `hours_back` hours ago at `speed`, and once the present is reached, live.

    It begins with a burst of one subject 20 minutes into the played time, so that there is something to see, and names each
    ticket that is opened. Ends after `seconds`, else with Ctrl-C.
    """
    ports, issuer = Ports.from_environment(os.environ), Issuer(var / "issuer")
    zone = ZoneInfo(os.environ.get("OPERATOR_TZ") or "Asia/Shanghai")
    real_begin = datetime.now(UTC)
    begin = real_begin - (timedelta(hours=hours_back) if speed > 1 else timedelta(0))
    burst_after = timedelta(minutes=20 if speed > 1 else 2)
    traffic = Traffic(zone, rate, [burst(begin + burst_after)])
    line = _Line()
    ingest = Ingest(ports.ingest, issuer, line.note)
    ingest.check()
    first = begin - timedelta(days=history_days)
    line.note(f"First the complaints since {first.astimezone(zone):%d %B}: what is a burst is judged by what came before it.")
    for hour in complaints_between(traffic, first, begin):
        ingest.post(hour)
        line.show(f"{ingest.sent:,} sent")
    line.note(f"{ingest.sent:,} sent. Now all events, from {begin.astimezone(zone):%A %H:%M} on.")
    at = (begin + burst_after).astimezone(zone)
    line.note(f"At {at:%H:%M} a burst of complaints begins. Its ticket is named here, unless one is open from before.\n")
    line.note(where_to_look(ports))
    tickets = Tickets(ports.ticketing, issuer)
    timeline = Timeline(traffic, begin)
    ended: float = time.monotonic() + seconds if seconds is not None else float("inf")
    before, since = ingest.sent, time.monotonic()
    while time.monotonic() < ended:
        now = clock(begin, real_begin, datetime.now(UTC), speed)
        ingest.post(timeline.until(now))
        if (passed := time.monotonic() - since) >= 1:
            pace = "live" if now > datetime.now(UTC) - timedelta(seconds=5) else f"{speed:g} times as fast"
            trouble = "; ".join(incident.title for incident in traffic.incidents(now)) or "a quiet hour"
            line.show(
                f"{now.astimezone(zone):%a %d %b %H:%M} ({pace})  {(ingest.sent - before) / passed:5.0f}/s  "
                f"{ingest.sent:,} sent  {trouble}"
            )
            for ticket in tickets.new():
                line.note(ticket)
            before, since = ingest.sent, time.monotonic()
        time.sleep(0.1)
    line.note(f"{ingest.sent:,} events sent")


class _Line:
    """One line that is written over in a terminal; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = float("-inf")

    def show(self, text: str) -> None:
        if self._terminal:
            print(f"\r\x1b[2K{text}", end="", flush=True)
        elif time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(text, flush=True)

    def note(self, text: str) -> None:
        print(("\r\x1b[2K" if self._terminal else "") + text, flush=True)
