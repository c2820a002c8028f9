"""`make demo` against a running system: what it sends is accepted, counted and shown, and Ctrl-C ends it."""

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from closedloop.local.addresses import variable_of
from closedloop.local.stack import Stack
from e2e.conftest import call

ROOT = Path(__file__).resolve().parents[2]
PLAYED = 200
"""Events of the played time; an hour has several hundred."""
HISTORY_AT_LEAST = 500
"""Complaints of the three weeks that are sent first."""


def total(stack: Stack, service: str, start: str) -> float:
    """The sum of a metric's series that begin so."""
    _, _, shown = call(stack, service, "GET", "/metrics", None)
    return sum(float(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith(start))


def accepted(stack: Stack) -> float:
    return total(stack, "ingest", "ingest_events_accepted_total{")


def taken(stack: Stack) -> float:
    """Of the three topics that ingest writes."""
    topics = ("evaluations", "complaints", "orders")
    return sum(total(stack, "kpi", f'consumer_records_total{{outcome="taken",topic="{topic}"}}') for topic in topics)


def complaints_counted(stack: Stack) -> float:
    path = f"/v1/indicators/complaints_registered/value?window=30d&at={time.strftime('%FT%TZ', time.gmtime())}"
    status, _, value = call(stack, "kpi", "GET", path, stack.token("analyst"))
    assert status == 200, value
    return float(value["numerator"] or 0)


def until(condition: Callable[[], bool], demo: "subprocess.Popen[bytes]", said: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert demo.poll() is None and time.monotonic() < deadline, said.read_text()
        time.sleep(0.1)


@pytest.mark.timeout(180)
def test_the_demos_traffic_is_accepted_and_counted_until_ctrl_c(stack: Stack, tmp_path: Path) -> None:
    before: dict[str, float] = {"accepted": accepted(stack), "taken": taken(stack), "complaints": complaints_counted(stack)}
    ports = {variable_of(name): str(port) for name, port in dataclasses.asdict(stack.ports).items()}
    environment: dict[str, Any] = {**os.environ, **ports, "CLOSEDLOOP_VAR": str(stack.var), "PYTHONUNBUFFERED": "1"}
    said = tmp_path / "said"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            ["make", "-C", str(ROOT), "demo", "SPEED=600"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # a terminal's job listens to Ctrl-C, also where these tests run in the background of a shell, which does not
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        until(lambda: "Now all events" in said.read_text(), demo, said)
        history = accepted(stack)
        assert history > before["accepted"]
        until(lambda: accepted(stack) >= history + PLAYED, demo, said)
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(20)
    assert "Traceback" not in said.read_text()
    sent = accepted(stack) - before["accepted"]
    deadline = time.monotonic() + 30
    while taken(stack) - before["taken"] != sent:
        assert time.monotonic() < deadline, (sent, taken(stack) - before["taken"])
        time.sleep(0.2)
    assert complaints_counted(stack) - before["complaints"] >= HISTORY_AT_LEAST
