"""Whatever is sent: never a 500, and what is accepted every reader can read."""

import json
import random
from datetime import UTC, datetime

from closedloop.common.events.decoder import check, check_topic, decode_record
from closedloop.common.http.problems import PROBLEM_JSON
from ingest.door import BATCH, NDJSON, STRUCTURED, Door, example

SEED = 20261120
BODIES = 1_500
SPLICES = (
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b'"',
    b"{",
    b"]",
    b",",
    b"null",
    b"1e999",
    b"-0",
    b'"id":1,',
    b"[" * 1200,
    b" :",
    b"\\",
)
ROUTES = (
    ("/v1/events", STRUCTURED, "evaluation.submitted.v1"),
    ("/v1/events", BATCH, "order.status_changed.v1"),
    ("/v1/evaluations", "application/json", "evaluation.submitted.v1"),
    ("/v1/complaints", NDJSON, "complaint.escalated.v1"),
    ("/v1/enquiries", "application/json", "enquiry.registered.v1"),
    ("/v1/orders", NDJSON, "order.status_changed.v1"),
)


def damaged(rnd: random.Random, raw: bytes) -> bytes:
    """Cut, doubled, or with something else in the middle."""
    for _ in range(rnd.randrange(3)):
        first, last = sorted(rnd.randrange(len(raw) + 1) for _ in range(2))
        last = min(last, first + rnd.randrange(12))
        raw = raw[:first] + rnd.choice((b"", raw[first:last] * 2, rnd.choice(SPLICES))) + raw[last:]
    return raw


async def test_any_body_gets_an_answer_and_what_is_accepted_is_well_formed(door: Door) -> None:
    rnd = random.Random(SEED)
    accepted = 0
    for n in range(BODIES):
        path, content_type, event_type = rnd.choice(ROUTES)
        event = example(
            event_type, id=f"{n}", data={rnd.choice(("comment", "reason", "x")): rnd.choice(("", "å\n", None, {"a": [1]}, 7))}
        )
        whole = event if path == "/v1/events" else {"occurred_at": event["time"], **event["data"]}
        one = json.dumps(whole, ensure_ascii=rnd.random() < 0.5, separators=rnd.choice(((",", ":"), None))).encode()
        items = [damaged(rnd, one) for _ in range(rnd.randrange(1, 4))]
        body = (
            b"[" + b",".join(items) + b"]" if content_type == BATCH else b"\n".join(items) if content_type == NDJSON else items[0]
        )
        answer = await door.post(path, body, content_type)
        assert answer.status_code in (202, 400, 413, 422), (SEED, n, body)
        assert answer.headers["content-type"] == ("application/json" if answer.status_code == 202 else PROBLEM_JSON)
        if answer.status_code == 202:
            accepted += answer.json()["accepted"]
    stored = [record for topic in ("evaluations", "complaints", "orders") for record in await door.stored(topic)]
    assert len(stored) == accepted > BODIES / 10
    for record in stored:
        event_read = decode_record(record.value, record.headers)
        check(event_read, datetime.now(UTC))
        check_topic(event_read, record.topic)
