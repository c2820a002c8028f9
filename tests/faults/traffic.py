"""What existing systems send while things break: seeded events over REST and from a librdkafka producer, with poison.

Nothing of ours is imported: the senders speak HTTP and Kafka, and `Sent` is what the checker recomputes from.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

REGIONS = ("NJ", "SZ", "WX", "CZ")
PRODUCTS = ("broadband", "mobile", "leased_line")
CHANNELS = ("hotline", "business_hall", "web", "app")
TOPIC_PATHS = tuple(f"billing/case_{i}" for i in range(4000))
CLASSES = ("diamond", "gold", "silver", "regular")
ORDER_TYPES = ("new_install", "top_up", "suspension", "resumption", "fault_repair")
TOPIC_OF = {"evaluation": "evaluations", "complaint": "complaints", "enquiry": "complaints", "order": "orders"}
CUSTOMERS = 6_000
# 3 h past what recovery still queues: no event comes to lie at the limit, however long the run takes
LATE_BY = timedelta(hours=27)
REST_BATCH = 50
RETRY_S = 0.2
INCIDENT_ORDERS = 60

Event = dict[str, Any]


@dataclass
class Sent:
    """Everything that was sent. `good` by (source, id): the same event is listed once however often it was sent."""

    good: dict[tuple[str, str], Event] = field(default_factory=dict)
    poison: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)  # topic → (key, value)
    copies: int = 0

    @property
    def total(self) -> int:
        """Records handed to the senders, duplicates and poison included."""
        return self.copies + sum(map(len, self.poison.values()))


def events(seed: int) -> Iterator[Event]:
    """An endless stream of well-formed events: spread over the last two hours, out of order, 2 % more than a day late."""
    rng = random.Random(seed)
    number = 0
    while True:
        number += 1
        at = datetime.now(UTC) - timedelta(seconds=rng.uniform(10, 7200)) - (LATE_BY if rng.random() < 0.02 else timedelta(0))
        customer = f"C{rng.randrange(CUSTOMERS):06d}"
        data: Event = {
            "customer_id": customer,
            "region": rng.choice(REGIONS),
            "customer_class": rng.choice(CLASSES),
            "product": rng.choice(PRODUCTS),
            "channel": rng.choice(CHANNELS),
        }
        kind = rng.random()
        if kind < 0.6:
            type_ = "evaluation.submitted.v1"
            data |= {"kind": rng.choice(("survey", "sms_rating", "complaint_followup")), "contact_id": f"ct-{number}"}
            if rng.random() < 0.9:
                data["score"] = rng.choice((1, 3, 6, 7, 8, 9, 10, 10))
            else:
                data["satisfied"] = rng.random() < 0.8
        elif kind < 0.85:
            complaint = {"complaint_id": f"k-{number}", "topic_path": rng.choice(TOPIC_PATHS)}
            data |= complaint
            step = rng.random()
            if step < 0.65:
                type_ = "complaint.registered.v1"
                data |= {"text": "反复断线 \U0001f4f6", "severity": rng.randint(1, 4)}
            elif step < 0.75:
                type_ = "enquiry.registered.v1"
                data["enquiry_id"] = data.pop("complaint_id")
            elif step < 0.78:
                type_ = "complaint.escalated.v1"
                data["level"] = 2
                if rng.random() < 0.2:  # a complaint that nobody registered: all that is known of it is its id
                    del data["topic_path"]
            else:
                type_ = "complaint.closed.v1"
                data["satisfied"] = rng.random() < 0.7
        else:
            type_ = "order.status_changed.v1"
            status = rng.choice(("submitted", "completed", "failed"))
            data |= {
                "order_id": f"o-{number}",
                "order_type": rng.choice(ORDER_TYPES),
                "status": status,
                "first_try": rng.random() < 0.9,
            }
            if status == "completed":
                data["duration_s"] = rng.choice((30, 240, 400, 90_000))
        yield {
            "specversion": "1.0",
            "id": f"{seed}-{number}",
            "source": f"/systems/{rng.choice('abc')}",
            "type": type_,
            "time": at.astimezone().isoformat(timespec="milliseconds"),
            "data": data,
        }


def incident(number: int) -> list[Event]:
    """A region of its own where every order fails, ten minutes ago: kpi has a breach to tell."""
    at = (datetime.now(UTC) - timedelta(minutes=10)).isoformat(timespec="milliseconds")
    return [
        {
            "specversion": "1.0",
            "id": f"incident-{number}-{order}",
            "source": "/systems/a",
            "type": "order.status_changed.v1",
            "time": at,
            "data": {
                "customer_id": f"C{order:06d}",
                "region": f"X{number}",
                "order_id": f"x-{number}-{order}",
                "order_type": "new_install",
                "status": "failed",
            },
        }
        for order in range(INCIDENT_ORDERS)
    ]


def topic_of(event: Event) -> str:
    """The topic of an event's type."""
    return TOPIC_OF[str(event["type"]).partition(".")[0]]


def poison_of(event: Event, kind: int) -> bytes | None:
    """A record made from a good event that no reader may take; one of `POISON_KINDS` kinds."""
    raw = json.dumps(event, ensure_ascii=False).encode()
    open_data = b'"data": {'
    if kind == 0:
        return raw.replace(b'"product"', b'"x": "\xff\xfe", "product"')
    if kind == 1:
        return raw.replace(open_data, open_data + b'"reason": "a\\u0000b", ')
    if kind == 2:
        return raw.replace(open_data, open_data + b'"region": "NJ", ')
    if kind == 3:
        return raw.replace(open_data, open_data + b'"reason": "\\ud800", ')
    if kind == 4:
        return None
    if kind == 5:
        return json.dumps({**event, "time": "2026-11-20T08:00:00"}).encode()
    if kind == 6:
        return json.dumps({**event, "time": "2099-01-01T00:00:00Z"}).encode()
    if kind == 7:
        rating = {"customer_id": "c", "region": "NJ", "kind": "survey", "score": "infinite"}
        return json.dumps({**event, "type": "evaluation.submitted.v1", "data": rating}).replace('"infinite"', "1e999").encode()
    if kind == 8:
        return raw.replace(open_data, open_data + b'"deep": ' + b"[" * 1100 + b"]" * 1100 + b", ")
    if kind == 9:
        return raw.replace(open_data, open_data + b'"padding": "' + b"x" * 900_000 + b'", ')
    if kind == 10:
        return json.dumps({**event, "type": "evaluation.invented.v9"}).encode()
    return raw


def poison_topic(event: Event, kind: int) -> str:
    """Where such a record is sent: to the topic of its type, so that nothing else is wrong with it; a good one to another."""
    if kind == 7:
        return "evaluations"
    return topic_of(event) if kind < 11 else "orders" if topic_of(event) != "orders" else "evaluations"


POISON_KINDS = 12


class Traffic(threading.Thread):
    """Sends from its own thread until told to stop: half over REST, half from librdkafka, some both ways, some twice."""

    def __init__(self, seed: int, ingest_port: int, token: str, bootstrap: str, per_second: int) -> None:
        super().__init__(daemon=True)
        self.sent = Sent()
        self.error: BaseException | None = None
        self.awaited: int | None = None
        """The request that was sent whole and has no answer yet; they are numbered."""
        self.refused: set[int] = set()
        """Requests that got no answer, or another one than that they are accepted."""
        self.taken_again: set[int] = set()
        """Those of them that were sent again and then accepted."""
        self._requests = 0
        self._rng = random.Random(seed + 1)
        self._events = events(seed)
        self._port, self._token = ingest_port, token
        self._per_second = per_second
        self._stop_sending = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": 1_048_588,
                "linger.ms": 20,
                "message.timeout.ms": 300_000,
            }
        )

    def run(self) -> None:
        """Thread body."""
        try:
            self._send_all()
        except BaseException as error:
            self.error = error

    def finish(self) -> Sent:
        """Stop, wait until everything is acknowledged, return what was sent."""
        self._stop_sending.set()
        self.join(300)
        assert not self.is_alive(), "the senders did not finish"
        if self.error:
            raise self.error
        return self.sent

    def _send_all(self) -> None:
        history: list[Event] = []
        kind = 0
        while not self._stop_sending.is_set():
            began = time.monotonic()
            batch = [next(self._events) for _ in range(self._per_second // 4)]
            if kind % 40 == 0:
                batch += incident(kind // 40)
            for event in batch:
                self.sent.good[event["source"], event["id"]] = event
            history += batch
            again = [self._rng.choice(history) for _ in range(len(batch) // 10)]
            half = len(batch) // 2
            for event in batch[:half] + again:
                self._to_kafka(topic_of(event), event["data"]["customer_id"], json.dumps(event, ensure_ascii=False).encode())
            # the same ids over the other way
            self._to_rest(batch[half:] + again)
            self.sent.copies += len(batch) + 2 * len(again)
            event = {**next(self._events), "id": f"poison-{kind}"}
            poison, topic = poison_of(event, kind % POISON_KINDS), poison_topic(event, kind % POISON_KINDS)
            key = f"P{kind}"
            self.sent.poison.setdefault(topic, []).append((key, poison))
            self._to_kafka(topic, key, poison)
            kind += 1
            self._stop_sending.wait(max(0.0, 0.25 - (time.monotonic() - began)))
        assert self._producer.flush(300) == 0, "librdkafka could not deliver everything"

    def _to_kafka(self, topic: str, key: str, value: bytes | None) -> None:
        headers: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json")]
        while True:
            try:
                self._producer.produce(topic, value, key.encode(), headers=headers, on_delivery=self._delivered)
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.5)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.error = RuntimeError(f"librdkafka: {error}")

    def _to_rest(self, batch: list[Event]) -> None:
        for start in range(0, len(batch), REST_BATCH):
            self._post(batch[start : start + REST_BATCH])

    def _post(self, batch: list[Event]) -> None:
        """POST until accepted: an unknown outcome is repeated, as a producer would."""
        body = json.dumps(batch, ensure_ascii=False).encode()
        self._requests += 1
        number = self._requests
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/cloudevents-batch+json"}
                connection.request("POST", "/v1/events", body, headers)
                self.awaited = number
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                self.refused.add(number)
                time.sleep(RETRY_S)
                continue
            finally:
                self.awaited = None
                connection.close()
            if response.status == 202:
                assert json.loads(answer)["accepted"] == len(batch), answer
                if number in self.refused:
                    self.taken_again.add(number)
                return
            assert response.status in (429, 503), (response.status, answer)
            self.refused.add(number)
            time.sleep(RETRY_S)
