"""Two processes of each service: they share the work, count exactly, roll without a failed request, take over from one another."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.service import Service
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from deploy.rolling import Clients, roll
from deploy.watching import CONSUMING, calm_events, caught_up, check_counted, lag, records_taken, send, services_of, shares
from faults import checker
from faults.evidence import wait_until
from faults.traffic import Sent, incident

PARTITIONS = {"kpi": 30, "ticketing": 12, "recovery": 12}
SESSION_S = 6
WITHIN_S = 60


@dataclass
class Pairs:
    """A stack with two processes of each service, and all that was sent to it."""

    stack: Stack
    first: dict[str, Service]
    second: dict[str, Service]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent: Sent = field(default_factory=Sent)

    def shared(self) -> bool:
        """Each consumer has both members, and each of these an equal share."""
        return all(
            sorted(map(len, shares(self.stack, name).values())) == [PARTITIONS[name] // 2] * 2  # waits for a rebalance to end
            for name in CONSUMING
        )

    def check(self, asked: dict[str, Service]) -> None:
        """What these show is what follows from all that was sent, each event counted once."""
        services = services_of(self.stack, **{name: service.port for name, service in asked.items() if name in CONSUMING})
        moved, tickets = check_counted(self.stack, services, self.sent)
        assert len(moved) > 20, moved
        assert tickets["topic"] > 0, tickets
        assert checker.check_recoveries(services, self.sent, self.started) > 50


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    settings = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(SESSION_S * 1000) for name in CONSUMING}
    with temporary_folder() as folder, Stack(folder, Ports.free(), settings) as stack:
        first = {name: stack.service(name) for name in SERVICES}
        second = {name: stack.add_instance(name, "b", Ports.free().of(name)) for name in SERVICES}
        for service in second.values():
            service.launch()
        for service in (*second.values(), *first.values()):
            service.wait_working(WITHIN_S)
        pairs = Pairs(stack, first, second)
        wait_until(pairs.shared, WITHIN_S, "both are members")
        yield pairs


def test_they_share_the_work_whichever_door_an_event_came_by(pairs: Pairs) -> None:
    stack, events = pairs.stack, calm_events(1, 600)
    send(stack, [*events[:400], *incident(1)], pairs.sent)
    send(stack, events[200:], pairs.sent, pairs.second["ingest"].port)  # 200 of them by both
    wait_until(lambda: caught_up(stack), WITHIN_S, "all was read and said")
    for name in CONSUMING:
        held = shares(stack, name)
        assert not set.intersection(*held.values()), "a partition is held twice"
        topics = {topic for member in held.values() for topic, _ in member}
        assert all(len([tp for tp in member if tp[0] == topic]) == 3 for member in held.values() for topic in topics), held
        taken = [records_taken(service) for service in (pairs.first[name], pairs.second[name])]
        assert min(taken) > 0, (name, taken)
        assert sum(taken) == records_written(stack, name), (name, taken)
    pairs.check(pairs.second)


def test_they_roll_one_after_the_other_and_no_request_fails(pairs: Pairs) -> None:
    processes = {name: (pairs.first[name], pairs.second[name]) for name in SERVICES}
    clients = Clients(processes, pairs.stack.token("admin"), calm_events(2, 20_000), pairs.sent)
    clients.start()
    try:
        meanwhile = roll(clients, processes, WITHIN_S)
    finally:
        clients.finish()
    assert len(meanwhile) == 2 * len(SERVICES)
    assert min(meanwhile.values()) > 0, f"nobody asked while it was away: {meanwhile}"
    assert not clients.left_out
    wait_until(lambda: caught_up(pairs.stack), WITHIN_S, "all was read and said")
    wait_until(pairs.shared, WITHIN_S, "each has its share again")
    pairs.check(pairs.first)


def test_one_takes_over_from_another_that_was_killed(pairs: Pairs) -> None:
    for name in CONSUMING:
        pairs.first[name].kill()
    send(pairs.stack, calm_events(3, 300), pairs.sent)
    wait_until(lambda: caught_up(pairs.stack), SESSION_S + WITHIN_S, "the other processes took over")
    for name in CONSUMING:
        assert list(map(len, shares(pairs.stack, name).values())) == [PARTITIONS[name]]
    pairs.check(pairs.second)


def records_written(stack: Stack, service: str) -> int:
    """All that stands in the topics that it reads."""
    held = {tp for member in shares(stack, service).values() for tp in member}
    return lag(stack, dict.fromkeys(held, 0))
