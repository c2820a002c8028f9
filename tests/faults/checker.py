"""Compares what the system shows with a plain recomputation from what was sent. Imports nothing of the product."""

import http.client
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from faults.traffic import REGIONS, Event, Sent

CONSUMERS = {"evaluations": ("kpi", "recovery"), "complaints": ("kpi", "ticketing", "recovery"), "orders": ("kpi",)}
QUEUED_WITHIN = timedelta(hours=24)

Fraction = tuple[float, float]


@dataclass(frozen=True)
class Services:
    """Where the services answer."""

    kpi: int
    ticketing: int
    recovery: int
    token: str

    def get(self, port: int, path: str) -> Any:
        """A JSON answer; anything but 200 is an error."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, (path, response.status, body[:500])
        return json.loads(body)

    def all_of(self, port: int, path: str) -> Iterator[Any]:
        """Every item of a paged list."""
        cursor = ""
        while True:
            page = self.get(port, f"{path}{'&' if '?' in path else '?'}limit=500{cursor}")
            yield from page["items"]
            if not page["next"]:
                return
            cursor = f"&cursor={page['next']}"


def dissatisfied(data: Event) -> bool:
    """By the contract: `satisfied` decides, else the score's place on the scale 1 to 10."""
    if "satisfied" in data:
        return not data["satisfied"]
    return "score" in data and (data["score"] - 1) / 9 < 0.5


def recompute(good: list[Event]) -> dict[str, Callable[[str | None], Fraction]]:
    """Indicator → (numerator, denominator) for a region, or for all."""

    def over(types: str, numerator: Callable[[Event], float | None], denominator: Callable[[Event], float | None]) -> Any:
        def of(region: str | None) -> Fraction:
            chosen = [e for e in good if e["type"].startswith(types) and region in (None, e["data"]["region"])]
            pairs = [(numerator(e), denominator(e)) for e in chosen]
            return (
                sum(n for n, d in pairs if n is not None and d is not None),
                sum(d for n, d in pairs if n is not None and d is not None),
            )

        return of

    def one(_: Event) -> float:
        return 1.0

    return {
        "dissatisfied_share": over("evaluation.", lambda e: float(dissatisfied(e["data"])), one),
        "mean_satisfaction_score": over("evaluation.", lambda e: e["data"].get("score"), one),
        "complaints_registered": over("complaint.registered", one, one),
        "complaint_closed_unsatisfied_share": over("complaint.closed", lambda e: float(not e["data"]["satisfied"]), one),
        "complaint_escalation_share": over(
            "complaint.",
            lambda e: None if "closed" in e["type"] else float("escalated" in e["type"]),
            lambda e: float("registered" in e["type"]),
        ),
        "order_failure_rate": over(
            "order.", lambda e: None if e["data"]["status"] == "submitted" else float(e["data"]["status"] == "failed"), one
        ),
    }


def check_indicators(services: Services, sent: Sent, at: datetime) -> int:
    """Every indicator, over all and per region, over a window that holds all events. Returns how many values were compared."""
    good = list(sent.good.values())
    compared = 0
    for indicator, expected in recompute(good).items():
        for region in (None, *REGIONS):
            where = f"&region={region}" if region else ""
            path = f"/v1/indicators/{indicator}/value?window=7d&at={at.strftime('%Y-%m-%dT%H:%M:%SZ')}{where}"
            found = services.get(services.kpi, path)
            numerator, denominator = expected(region)
            assert abs(found["numerator"] - numerator) < 1e-6 * max(1, numerator), (indicator, region, found, numerator)
            if found.get("denominator") is not None:
                assert abs(found["denominator"] - denominator) < 1e-6, (indicator, region, found, denominator)
            compared += 1
    return compared


def check_recoveries(services: Services, sent: Sent, arrived: datetime) -> int:
    """Each customer who was dissatisfied within the last 24 h has exactly one recovery, and nobody else has."""
    expected = {
        e["data"]["customer_id"]
        for e in sent.good.values()
        if datetime.fromisoformat(e["time"]) > arrived - QUEUED_WITHIN
        and (
            (e["type"] == "evaluation.submitted.v1" and dissatisfied(e["data"]))
            or (e["type"] == "complaint.closed.v1" and e["data"].get("satisfied") is False)
        )
    }
    found = Counter(item["customer_id"] for item in services.all_of(services.recovery, "/v1/recoveries"))
    assert [c for c, n in found.items() if n > 1] == []
    assert found.keys() == expected, (len(found.keys() - expected), len(expected - found.keys()))
    return len(expected)


def check_tickets(services: Services, sent: Sent) -> int:
    """Each topic path with an escalated complaint has exactly one open ticket."""
    escalated = {e["data"]["topic_path"] for e in sent.good.values() if e["type"] == "complaint.escalated.v1"}
    found = Counter(item["topic_path"] for item in services.all_of(services.ticketing, "/v1/tickets") if item.get("topic_path"))
    assert [path for path, n in found.items() if n > 1] == []
    assert escalated <= found.keys(), escalated - found.keys()
    return len(escalated)


def check_own_events(services: Services, bootstrap: str, at: datetime) -> dict[str, int]:
    """What the services said: `recovery.queued` once per recovery by distinct ids, and kpi counted each once."""
    said: dict[str, set[str]] = defaultdict(set)
    for topic in ("recoveries", "tickets"):
        for _, value, _ in read_topic(bootstrap, topic):
            event = json.loads(value or b"{}")
            said[event["type"]].add(event["id"])
    recoveries = sum(1 for _ in services.all_of(services.recovery, "/v1/recoveries"))
    tickets = sum(1 for _ in services.all_of(services.ticketing, "/v1/tickets"))
    assert len(said["recovery.queued.v1"]) == recoveries
    assert len(said["ticket.opened.v1"]) == tickets
    window = f"window=7d&at={at.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    for indicator, expected in (("recoveries_queued", recoveries), ("tickets_opened", tickets)):
        found = services.get(services.kpi, f"/v1/indicators/{indicator}/value?{window}")
        assert found["numerator"] == expected, (indicator, found, expected)
    return {"recoveries": recoveries, "tickets": tickets}


def check_dead_letters(bootstrap: str, sent: Sent) -> int:
    """Each poison record stands once in the dead letters of each consumer of its topic, unchanged, with reason and origin."""
    counted = 0
    for topic, services in CONSUMERS.items():
        expected = Counter(sent.poison.get(topic, []))
        in_topic = Counter((key, value) for key, value, _ in read_topic(bootstrap, topic) if key.startswith("P"))
        assert in_topic == expected, f"{topic}: the poison is not in the topic as it was sent"
        for service in services:
            letters = list(read_topic(bootstrap, f"{topic}-{service}-dlq"))
            origins = Counter((headers["x-error-partition"], headers["x-error-offset"]) for _, _, headers in letters)
            assert max(origins.values(), default=1) == 1, f"{topic}-{service}-dlq: {origins.most_common(3)}"
            found = Counter((key, value) for key, value, _ in letters)
            assert found == expected, (topic, service, len(letters), sum(expected.values()), _difference(found, expected))
            for _, _, headers in letters:
                assert headers["x-error-topic"] == topic.encode()
                assert headers["x-error-stage"] in (b"decode", b"rules")
                assert headers["x-error-message"]
            counted += len(letters)
    return counted


def _difference(found: Counter[Any], expected: Counter[Any]) -> list[Any]:
    return [(key, str(value)[:200]) for key, value in [*(found - expected), *(expected - found)]][:5]


def read_topic(bootstrap: str, topic: str) -> Iterator[tuple[str, bytes | None, dict[str, bytes]]]:
    """All records of a topic as (key, value, headers), once."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "checker", "enable.auto.commit": False, "fetch.queue.backoff.ms": 10}
    )
    try:
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in partitions}
        remaining = {p: end for p, end in ends.items() if end > 0}
        consumer.assign([TopicPartition(topic, p, 0) for p in remaining])
        deadline = time.monotonic() + 120
        while remaining:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in consumer.consume(2000, 1):
                assert message.error() is None, message.error()
                yield (message.key() or b"").decode(), message.value(), dict(message.headers() or [])
                if message.offset() >= ends[message.partition()] - 1:
                    remaining.pop(message.partition(), None)
    finally:
        consumer.close()


def lag(bootstrap: str, positions: dict[tuple[str, int], int]) -> int:
    """How many records stand after these positions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "checker"})
    try:
        return sum(
            max(0, consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] - offset)
            for (topic, p), offset in positions.items()
        )
    finally:
        consumer.close()


def now() -> datetime:
    """The next full minute in UTC, so that everything sent lies before it."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
