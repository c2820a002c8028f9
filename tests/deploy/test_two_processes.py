"""Two processes of each consuming service: they share the partitions, count exactly, and one takes over from the other."""

import http.client
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka.admin import AdminClient

from closedloop.local.addresses import Ports
from closedloop.local.service import Service
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from deploy.watching import CONSUMING, calm_events, caught_up, send, services_of, wait_until
from faults import checker
from faults.traffic import Sent, incident

PARTITIONS = {"kpi": 30, "ticketing": 12, "recovery": 12}
SESSION_S = 6
WITHIN_S = 60


@pytest.fixture
def stack() -> Iterator[Stack]:
    settings = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(SESSION_S * 1000) for name in CONSUMING}
    with temporary_folder() as folder, Stack(folder, Ports.free(), settings) as stack:
        yield stack


def test_two_processes_share_the_work_and_one_takes_over_from_the_other(stack: Stack) -> None:
    started, sent = datetime.now(UTC), Sent()
    first = {name: stack.service(name) for name in CONSUMING}
    second = {name: stack.add_instance(name, "b", Ports.free().of(name)) for name in CONSUMING}
    for service in second.values():
        service.launch()
    for service in (*second.values(), *first.values()):
        service.wait_working(WITHIN_S)
    wait_until(lambda: all(len(shares(stack, name)) == 2 for name in CONSUMING), WITHIN_S, "both are members")

    send(stack, [*calm_events(1, 600), *incident(1)], sent)
    wait_until(lambda: caught_up(stack), WITHIN_S, "all was read and said")
    for name in CONSUMING:
        held = shares(stack, name)
        assert sorted(map(len, held.values())) == [PARTITIONS[name] // 2] * 2
        assert not set.intersection(*held.values()), "a partition is held twice"
        topics = {topic for member in held.values() for topic, _ in member}
        assert all(len([tp for tp in member if tp[0] == topic]) == 3 for member in held.values() for topic in topics), held
        taken = [records_taken(service) for service in (first[name], second[name])]
        assert min(taken) > 0, (name, taken)
        assert sum(taken) == records_written(stack, name), (name, taken)

    for service in first.values():
        service.kill()
    send(stack, calm_events(2, 300), sent)
    wait_until(lambda: caught_up(stack), SESSION_S + WITHIN_S, "the other processes took over")
    for name in CONSUMING:
        assert list(map(len, shares(stack, name).values())) == [PARTITIONS[name]]
    remaining = services_of(stack, **{name: service.port for name, service in second.items()})
    assert checker.check_indicators(remaining, sent, checker.now()) == 30
    assert checker.check_recoveries(remaining, sent, started) > 50
    assert checker.check_tickets(remaining, sent) > 0
    checker.check_own_events(remaining, stack.bootstrap, checker.now())


def shares(stack: Stack, service: str) -> dict[str, set[tuple[str, int]]]:
    """Member → the partitions that it holds, as the broker tells it."""
    group = f"closedloop-{service}"
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})  # kept until it has answered
    described = admin.describe_consumer_groups([group])[group].result(20)
    return {
        member.member_id: {(tp.topic, tp.partition) for tp in member.assignment.topic_partitions} for member in described.members
    }


def records_taken(service: Service) -> int:
    """What this process has applied since it started, by its own metric."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return sum(int(float(n)) for n in re.findall(r"^consumer_records_total\{.*\} ([\d.e+]+)$", text, re.M))


def records_written(stack: Stack, service: str) -> int:
    """All that stands in the topics that it reads."""
    held = {tp for member in shares(stack, service).values() for tp in member}
    return checker.lag(stack.bootstrap, dict.fromkeys(held, 0))
