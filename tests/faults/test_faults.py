"""Crash anywhere and restart: the effects equal those of a run without it. (FAULT_SEED=… repeats a run's traffic and choices.)

One stack, one stream of at least 50,000 records; each fault counts only where work was in hand that came again (see `breaking`).
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from faults import breaches, checker, indicators, reading
from faults.breaking import CONSUMING, RANDOM_KILLS, Faults, points_of
from faults.evidence import wait_until
from faults.reading import Services
from faults.traffic import Event, Sent, Traffic

pytestmark = pytest.mark.timeout(900)

RECORDS = 50_000
PER_SECOND = 250
SESSION_S = 6
CAUGHT_UP_WITHIN_S = 180
STATED_WITHIN_S = 180


@dataclass
class Aftermath:
    """What is left when all faults are over and everything was read."""

    stack: Stack
    sent: Sent
    started: datetime
    finished: datetime
    services: Services
    faults: Faults

    @property
    def good(self) -> list[Event]:
        """Every well-formed event once."""
        return list(self.sent.good.values())


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"\nFAULT_SEED={seed}")
    settings = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(SESSION_S * 1000) for name in CONSUMING}
    with temporary_folder() as folder, Stack(folder, Ports.free(), settings) as stack:
        started = datetime.now(UTC)
        traffic = Traffic(seed, stack.ports.of("ingest"), stack.token("admin"), stack.bootstrap, PER_SECOND)
        traffic.start()
        faults = Faults(stack, traffic, random.Random(seed))
        try:
            faults.all()
            wait_until(lambda: traffic.sent.total >= RECORDS or traffic.error is not None, 300, "50,000 records were sent")
        finally:
            sent = traffic.finish()
        finished = datetime.now(UTC)
        wait_until(faults.caught_up, CAUGHT_UP_WITHIN_S, "all was read and said")
        ports = {name: stack.ports.of(name) for name in CONSUMING}
        services = Services(ports["kpi"], ports["ticketing"], ports["recovery"], stack.token("admin"))
        print(f"sent {sent.total}, faults {dict(faults.counted)}")
        yield Aftermath(stack, sent, started, finished, services, faults)


@pytest.fixture(scope="module")
def stated_until(aftermath: Aftermath) -> dict[str, int]:
    """Topic → minute since 1970 up to which kpi has stated, with everything counted: statements then follow the clock again, a
    minute after the last record."""
    found: dict[str, int] = {}

    def all_stated() -> bool:
        shown = reading.metrics_of(aftermath.services.kpi)
        found.update(
            {topic: int(shown.get(f'kpi_stated_until_seconds{{topic="{topic}"}}', 0)) // 60 for topic in breaches.THRESHOLDS}
        )
        return all(minute * 60 > aftermath.finished.timestamp() - 60 for minute in found.values())

    wait_until(all_stated, STATED_WITHIN_S, "kpi has stated all that it counted")
    wait_until(aftermath.faults.caught_up, CAUGHT_UP_WITHIN_S, "what was stated is said, and read")
    return found


def test_every_fault_hit_work_in_hand_that_came_again(aftermath: Aftermath) -> None:
    counted = dict(aftermath.faults.counted)
    random_kills = {name: counted.pop(f"{name} killed at random", 0) for name in (*CONSUMING, "ingest")}
    assert min(random_kills.values()) >= 1
    assert sum(random_kills.values()) == RANDOM_KILLS
    assert counted == {
        "crash points": sum(len(points_of(name)) for name in CONSUMING),
        "kafka killed": 1,
        "postgres killed": 1,
        "frozen past its session": 2,
    }
    assert aftermath.sent.total >= RECORDS


def test_what_was_published_before_a_crash_is_published_again_under_its_id(aftermath: Aftermath) -> None:
    assert len(aftermath.faults.said_twice) == 2 * len(CONSUMING)
    for topic, event_id in aftermath.faults.said_twice:
        assert reading.times_said(aftermath.stack.bootstrap, topic, event_id) >= 2, (topic, event_id)


def test_each_dissatisfied_customer_has_exactly_one_recovery(aftermath: Aftermath) -> None:
    assert checker.check_recoveries(aftermath.services, aftermath.sent, aftermath.started) > 1000


def test_each_poison_record_stands_once_in_the_dead_letters_with_its_reason(aftermath: Aftermath) -> None:
    assert checker.check_dead_letters(aftermath.stack.bootstrap, aftermath.sent, aftermath.faults.frozen) > 100


def test_each_breach_is_said_once_and_what_stands_breached_is_what_a_plain_recomputation_finds(
    aftermath: Aftermath, stated_until: dict[str, int]
) -> None:
    statements = reading.said(aftermath.stack.bootstrap, "indicators")
    assert {event["type"] for event in statements} <= {"indicator.breached.v1", "indicator.recovered.v1"}, (
        "nothing is escalated yet"
    )
    series = breaches.check_statements(statements)
    incidents = {region for event in aftermath.good if (region := event["data"]["region"]).startswith("X")}
    assert breaches.check_incidents(series, incidents) > 5
    standing, fine = breaches.check_standing(statements, aftermath.good, stated_until)
    assert standing > 10
    assert fine > 5


def test_each_escalated_subject_and_each_breached_series_has_exactly_one_ticket(
    aftermath: Aftermath, stated_until: dict[str, int]
) -> None:
    def breached_by_now() -> list[Event]:
        """A warning has no ticket."""
        statements = reading.said(aftermath.stack.bootstrap, "indicators")
        breached = [event for event in statements if event["type"] == "indicator.breached.v1"]
        return [event for event in breached if breaches.rank_after(event) == breaches.CRITICAL]

    stated = min(stated_until.values())
    breached = [event for event in breached_by_now() if breaches.minute_of(event) <= stated]
    found = checker.check_tickets(aftermath.services, aftermath.sent, breached, breached_by_now)
    assert min(found["topic"], found["complaint"], found["indicator"]) > 10, found


def test_what_the_services_said_is_said_once_and_every_indicator_equals_a_plain_recomputation(
    aftermath: Aftermath, stated_until: dict[str, int]
) -> None:
    def compared() -> set[str]:
        own = checker.check_own_events(aftermath.services, aftermath.stack.bootstrap)
        return indicators.check_indicators(aftermath.services, [*aftermath.good, *own], reading.now())

    moved = checker.while_all_is_still(aftermath.stack.bootstrap, compared)
    nobody_works = {
        "first_contact_within_2h_share",
        "mean_time_to_first_contact",
        "recovery_reached_share",
        "tickets_closed_effective_share",
    }
    assert moved == indicators.RULES.keys() - nobody_works
