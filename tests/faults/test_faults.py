"""Crash anywhere and restart: the effects equal those of a run without it. (FAULT_SEED=… repeats a run's traffic and choices.)

One stack, one stream of at least 50,000 records; each fault counts only where work was in hand that had to come again.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import pytest

from closedloop.common.consumer.crashpoints import CRASH_POINTS, EXIT_CODE
from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from faults import checker
from faults.traffic import Sent, Traffic

pytestmark = pytest.mark.timeout(900)

CONSUMING = ("kpi", "ticketing", "recovery")
STATING = ("kpi", "ticketing")
RECORDS = 50_000
PER_SECOND = 400
SESSION_S = 6
HIT_WITHIN_S = 150
CAUGHT_UP_WITHIN_S = 180


@dataclass
class Aftermath:
    """What is left when all faults are over and everything was read."""

    stack: Stack
    sent: Sent
    started: datetime
    services: checker.Services
    counted: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"\nFAULT_SEED={seed}")
    settings = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(SESSION_S * 1000) for name in CONSUMING}
    with temporary_folder() as folder, Stack(folder, Ports.free(), settings) as stack:
        started = datetime.now(UTC)
        token = stack.token("admin")
        traffic = Traffic(seed, stack.ports.of("ingest"), token, stack.bootstrap, PER_SECOND)
        traffic.start()
        faults = Faults(stack, random.Random(seed))
        try:
            faults.all()
            wait_until(lambda: traffic.sent.total >= RECORDS or traffic.error is not None, 300, "50,000 records were sent")
        finally:
            sent = traffic.finish()
        wait_until(faults.caught_up, CAUGHT_UP_WITHIN_S, "all was read and said")
        ports = {name: stack.ports.of(name) for name in CONSUMING}
        services = checker.Services(ports["kpi"], ports["ticketing"], ports["recovery"], stack.token("admin"))
        print(f"sent {sent.total}, faults {faults.counted}")
        yield Aftermath(stack, sent, started, services, faults.counted)


class Faults:
    """Breaks one thing after the other."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self._stack = stack
        self._rng = rng
        self.counted: dict[str, int] = {}

    def all(self) -> None:
        """Every kind of fault."""
        with ThreadPoolExecutor(len(CONSUMING)) as pool:
            list(pool.map(self.every_crash_point, CONSUMING))
        for _ in range(5):
            self.random_kill()
        self.kafka_killed()
        self.postgres_killed()
        self.frozen_past_its_session("recovery")
        self.frozen_past_its_session("kpi")

    def every_crash_point(self, name: str) -> None:
        """The service dies at each named point once, with a batch, a round of statements or a message to publish in hand."""
        service = self._stack.service(name)
        for point in points_of(name):
            service.stop()
            service.launch({"CRASHPOINT": point, "CRASHPOINT_SKIP": "1" if point.startswith("consumer") else "0"})
            try:
                ended = service.wait(HIT_WITHIN_S)
            except TimeoutError:
                raise AssertionError(f"{name} did not come to {point}; {self._state_of(name)}") from None
            assert ended == EXIT_CODE, f"{name} ended with {ended} before {point}: {service.complaint()}"
            if point.startswith("relay"):
                assert self._fetchval(f"SELECT count(*) FROM {name}.outbox") > 0, f"{name} at {point}: nothing to be said again"
            elif point.startswith("consumer") and point != "consumer.after_commit":
                assert self._lag(name) > 0, f"{name} at {point}: nothing came again"
            self._count("crash points")
            service.start()

    def random_kill(self) -> None:
        """SIGKILL at a random moment; repeated where nothing was in flight."""
        while True:
            name = self._rng.choice((*CONSUMING, "ingest"))
            service = self._stack.service(name)
            time.sleep(self._rng.uniform(0.1, 1.0))
            service.kill()
            in_flight = name == "ingest" or self._lag(name) > 0
            service.start()
            if in_flight:
                self._count("random kills")
                return

    def kafka_killed(self) -> None:
        """SIGKILL of the broker, away for a few seconds. Meanwhile all but ingest serve their REST, and say what they wait for."""
        kafka = self._stack.kafka
        assert kafka is not None
        kafka.kill()
        time.sleep(3)
        wait_until(lambda: all(self._serves_without_kafka(name) for name in CONSUMING), 20, "ready without Kafka, and says so")
        wait_until(lambda: (self._stack.service("ingest").readiness() or (0, ""))[0] == 503, 20, "ingest is not ready")
        kafka.start()
        self._all_ready()
        self._count("kafka killed")

    def postgres_killed(self) -> None:
        """SIGKILL of all of PostgreSQL, away for a few seconds."""
        postgres = self._stack.postgres
        assert postgres is not None
        postgres.kill()
        time.sleep(3)
        in_flight = self._unread_by_any
        postgres.start()
        assert in_flight() > 0, "nothing was in flight"
        self._all_ready()
        self._count("postgres killed")

    def frozen_past_its_session(self, name: str) -> None:
        """SIGSTOP; another process takes the partitions over; SIGCONT: the first must not write what it had in hand."""
        other = self._stack.add_instance(name, "b", Ports.free().of(name))
        service = self._stack.service(name)
        other.start()
        while True:
            service.pause()
            if self._lag(name) > 0:
                break
            service.resume()
            time.sleep(0.05)
        before = self._positions(name)
        wait_until(
            lambda: all(self._positions(name)[tp] > at for tp, at in before.items() if tp[0] == "evaluations"), 60, "taken over"
        )
        service.resume()
        service.wait_working(60)
        other.stop()
        service.wait_working(60)
        self._count("frozen past its session")

    def caught_up(self) -> bool:
        """Every consumer has read all there is and every outbox is empty."""
        silent = all(self._fetchval(f"SELECT count(*) FROM {name}.outbox") == 0 for name in CONSUMING)
        return silent and all(self._lag(name) == 0 for name in CONSUMING)

    def _serves_without_kafka(self, name: str) -> bool:
        status, body = self._stack.service(name).readiness() or (0, "")
        assert status in (0, 200), f"{name} is not ready without Kafka: {body}"
        return status == 200 and "waits for Kafka" in json.loads(body)["notes"].get("consumer", "")

    def _all_ready(self) -> None:
        for service in self._stack.services:
            service.wait_working(90)

    def _unread_by_any(self) -> int:
        return sum(self._lag(name) for name in CONSUMING)

    def _count(self, fault: str) -> None:
        self.counted[fault] = self.counted.get(fault, 0) + 1

    def _lag(self, name: str) -> int:
        return checker.lag(self._stack.bootstrap, self._positions(name))

    def _positions(self, name: str) -> dict[tuple[str, int], int]:
        rows = self._query(f"SELECT topic, partition, next_offset FROM {name}.consumer_offset")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    def _state_of(self, name: str) -> str:
        """What a failed run needs to be understood."""
        rows = self._query(f"SELECT topic, partition, next_offset, watermark, moved_at FROM {name}.consumer_offset")
        return f"lag {self._lag(name)}, readiness {self._stack.service(name).readiness()}, {[tuple(map(str, row)) for row in rows]}"

    def _fetchval(self, query: str) -> int:
        return int(self._query(query)[0][0])

    def _query(self, query: str) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self._stack.admin_url)
            try:
                return await connection.fetch(query)
            finally:
                await connection.close()

        return asyncio.run(fetch())


def points_of(name: str) -> list[str]:
    """Where this service can die. The points of statements are passed only with something stated."""
    return [point for point in CRASH_POINTS if name in STATING or not point.startswith("statements")]


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)


def test_every_fault_hit_work_in_hand(aftermath: Aftermath) -> None:
    assert aftermath.counted == {
        "crash points": sum(len(points_of(name)) for name in CONSUMING),
        "random kills": 5,
        "kafka killed": 1,
        "postgres killed": 1,
        "frozen past its session": 2,
    }
    assert aftermath.sent.total >= RECORDS


def test_indicators_equal_a_plain_recomputation(aftermath: Aftermath) -> None:
    assert checker.check_indicators(aftermath.services, aftermath.sent, checker.now()) == 30


def test_each_dissatisfied_customer_has_exactly_one_recovery(aftermath: Aftermath) -> None:
    assert checker.check_recoveries(aftermath.services, aftermath.sent, aftermath.started) > 1000


def test_each_escalated_subject_has_exactly_one_ticket(aftermath: Aftermath) -> None:
    assert checker.check_tickets(aftermath.services, aftermath.sent) > 10


def test_what_the_services_said_is_counted_once(aftermath: Aftermath) -> None:
    checker.check_own_events(aftermath.services, aftermath.stack.bootstrap, checker.now())


def test_each_poison_record_stands_once_in_the_dead_letters_with_its_reason(aftermath: Aftermath) -> None:
    assert checker.check_dead_letters(aftermath.stack.bootstrap, aftermath.sent) > 100
