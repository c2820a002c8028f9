"""How the checker sees the system: over REST, in Kafka's topics and in the services' metrics. Imports nothing of the product."""

import http.client
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from confluent_kafka import Consumer, TopicPartition

from faults.traffic import Event


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


def metrics_of(port: int) -> dict[str, float]:
    """What the /metrics of a service show now: a sample's name with its labels → value."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def said(bootstrap: str, topic: str) -> list[Event]:
    """The events on a service's topic, each once, in the order of their first coming. Said again, one must be the same."""
    events: dict[str, Event] = {}
    for _, value, _ in read_topic(bootstrap, topic):
        event = json.loads(value or b"{}")
        assert events.setdefault(event["id"], event) == event, f"{topic}: {event['id']} was said twice, differently"
    return list(events.values())


def times_said(bootstrap: str, topic: str, event_id: str) -> int:
    """How often an event stands in its topic."""
    return sum(json.loads(value or b"{}").get("id") == event_id for _, value, _ in read_topic(bootstrap, topic))


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
                headers = cast(list[tuple[str, bytes]], message.headers() or [])  # the other types are for sending
                yield (message.key() or b"").decode(), message.value(), dict(headers)
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                if offset >= ends[partition] - 1:
                    remaining.pop(partition, None)
    finally:
        consumer.close()


def ends(bootstrap: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the position after its last record."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "checker"})
    try:
        return {(topic, p): consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for topic, p in places}
    finally:
        consumer.close()


def now() -> datetime:
    """The next full minute in UTC, so that everything sent lies before it."""
    return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
