"""A running stack as its operator sees it: what was sent, what was read, what is shown and what was published."""

import asyncio
import http.client
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import asyncpg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from closedloop.local.service import Service
from closedloop.local.stack import Stack
from faults import checker
from faults.breaches import CRITICAL, rank_after
from faults.evidence import Positions, wait_until
from faults.indicators import RULES, check_indicators
from faults.reading import Services, now, read_topic, said
from faults.traffic import REST_BATCH, Event, Sent, events, incident

CONSUMING = ("kpi", "ticketing", "recovery")
OWN_TOPICS = ("indicators", "tickets", "recoveries")


def calm_events(seed: int, count: int) -> list[Event]:
    """Traffic with too few dissatisfied customers for any indicator to be breached."""
    made = []
    for number, event in enumerate(islice(events(seed), count)):
        data = event["data"]
        if event["type"] == "evaluation.submitted.v1":
            data.pop("satisfied", None)
            data["score"] = 2 if number % 6 == 0 else 9
        made.append(event)
    return made


def failing_orders(number: int) -> list[Event]:
    """A region of its own where every order fails; and orders of now."""
    return [*incident(number), *orders_of_now(str(number))]


def orders_of_now(name: str) -> list[Event]:
    """In every partition: so kpi knows that it has heard all."""
    data = {"region": "NJ", "order_type": "new_install", "status": "submitted"}
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [
        {
            "specversion": "1.0",
            "id": f"later-{name}-{n}",
            "source": "/systems/a",
            "time": at,
            "type": "order.status_changed.v1",
            "data": {**data, "customer_id": f"L{n}", "order_id": f"l-{name}-{n}"},
        }
        for n in range(60)
    ]


def send(stack: Stack, batch: Sequence[Event], sent: Sent, door: int | None = None) -> None:
    """Over REST, and into the list of what was sent. `door`: the port of another ingest."""
    token = stack.token("admin")
    connection = http.client.HTTPConnection("127.0.0.1", door or stack.ports.of("ingest"), timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents-batch+json"}
    for start in range(0, len(batch), REST_BATCH):
        connection.request("POST", "/v1/events", json.dumps(batch[start : start + REST_BATCH]), headers)
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 202, (response.status, answer)
    connection.close()
    for event in batch:
        sent.good[event["source"], event["id"]] = event


def query(url: str, statement: str) -> list[asyncpg.Record]:
    """One statement as this role."""

    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def positions(stack: Stack, service: str) -> Positions:
    """Where it goes on reading."""
    rows = query(stack.database_url(service), "SELECT topic, partition, next_offset FROM consumer_offset")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def caught_up(stack: Stack) -> bool:
    """All was read and all was said."""
    outboxes = " UNION ALL ".join(f"SELECT seq FROM {name}.outbox" for name in CONSUMING)
    read = " UNION ALL ".join(f"SELECT topic, partition, next_offset FROM {name}.consumer_offset" for name in CONSUMING)
    if query(stack.admin_url, f"SELECT FROM ({outboxes}) AS unsaid LIMIT 1"):
        return False
    found = [((row["topic"], row["partition"]), row["next_offset"]) for row in query(stack.admin_url, read)]
    ends = ends_of(stack, [place for place, _ in found])
    return bool(found) and all(offset >= ends[place] for place, offset in found)


def ends_of(stack: Stack, places: Iterable[tuple[str, int]]) -> Positions:
    """(topic, partition) → the position after its last record, all asked for at once."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library says no types here
    asked = admin.list_offsets({TopicPartition(topic, partition): latest for topic, partition in places})
    return {(tp.topic, tp.partition): told.result(20).offset for tp, told in asked.items()}


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


def lag(stack: Stack, positions: Positions) -> int:
    """How many records lie after these positions."""
    ends = ends_of(stack, positions)
    return sum(max(0, ends[place] - offset) for place, offset in positions.items())


def services_of(stack: Stack, **ports: int) -> Services:
    """Where the checker asks."""
    return Services(**{name: stack.ports.of(name) for name in CONSUMING} | ports, token=stack.token("admin"))


def check_counted(stack: Stack, services: Services, sent: Sent, among: Set[str] = RULES.keys()) -> tuple[set[str], Counter[str]]:
    """Every indicator, every ticket and every own event is what follows from all that was sent, each event counted once. A breach
    may be said while this is looked at: then it is looked at again. `among`: the indicators that are compared. Returns those that
    moved and how many tickets there are of each kind."""
    while True:
        breached = breaches(stack)
        wait_until(lambda: caught_up(stack), 60, "the breaches were read too")
        try:
            own = checker.check_own_events(services, stack.bootstrap)
            moved = check_indicators(services, [*sent.good.values(), *own], now(), among)
            return moved, checker.check_tickets(services, sent, breached, lambda: breaches(stack))
        except AssertionError:
            if breaches(stack) == breached:
                raise


def breaches(stack: Stack) -> list[Event]:
    """What kpi said of critical breaches."""
    breached = [event for event in said(stack.bootstrap, "indicators") if event["type"] == "indicator.breached.v1"]
    return [event for event in breached if rank_after(event) == CRITICAL]


def published(stack: Stack) -> dict[str, list[str]]:
    """The ids that stand on each topic of our own, as often as they stand there."""
    return {
        topic: sorted(json.loads(value or b"{}")["id"] for _, value, _ in read_topic(stack.bootstrap, topic))
        for topic in OWN_TOPICS
    }


def shown(services: Services, at: str) -> dict[str, Any]:
    """What the services' users see: each indicator's sums, the queue, the tickets."""
    indicators = {
        item["id"]: services.get(services.kpi, f"/v1/indicators/{item['id']}/value?window=7d&at={at}")
        for item in services.all_of(services.kpi, "/v1/indicators?")
    }
    recoveries = services.all_of(services.recovery, "/v1/recoveries")
    tickets = services.all_of(services.ticketing, "/v1/tickets")
    return {
        "indicators": {
            # what is reported alone has no numerator
            name: (found["numerator"] and round(found["numerator"], 6), found["denominator"], found["sample"])
            for name, found in indicators.items()
        },
        "recoveries": {r["recovery_id"]: (r["customer_id"], r["status"], r["deadline"]) for r in recoveries},
        "tickets": {t["id"]: (t["cause"], t["trigger"], t["stage"]) for t in tickets},
    }
