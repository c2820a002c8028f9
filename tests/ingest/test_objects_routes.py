"""The routes for systems that know no CloudEvents: one object, an array, NDJSON."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.rules import Refused
from closedloop.ingest.domain.wrapping import COMPLAINT_EVENTS, wrap
from ingest.door import NDJSON, Door, example

AT = "2026-01-05T08:00:00+08:00"
COMPLAINT = {**example("complaint.registered.v1")["data"], "complaint_id": "K-1"}
ORDER = {**example("order.status_changed.v1")["data"], "occurred_at": AT}
ENQUIRY = {**example("enquiry.registered.v1")["data"], "occurred_at": AT}
RATING = {**example()["data"], "contact_id": "k-1"}


@pytest.mark.parametrize(
    ("path", "body", "topic", "event_type"),
    [
        ("/v1/evaluations", RATING, "evaluations", "evaluation.submitted.v1"),
        ("/v1/complaints", COMPLAINT, "complaints", "complaint.registered.v1"),
        ("/v1/enquiries", ENQUIRY, "complaints", "enquiry.registered.v1"),
        ("/v1/orders", ORDER, "orders", "order.status_changed.v1"),
    ],
)
async def test_an_object_becomes_an_event_of_the_routes_type(
    door: Door, path: str, body: dict[str, Any], topic: str, event_type: str
) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    answer = await door.post(path, body)
    assert answer.json() == {"accepted": 1, "rejected": []}
    [event] = await door.stored_events(topic)
    assert (event["type"], event["source"], event["specversion"]) == (event_type, "csp-nanjing", "1.0")
    assert event["data"] == {name: value for name, value in body.items() if name != "occurred_at"}
    if "occurred_at" in body:
        assert event["time"] == AT
    else:
        assert before <= datetime.fromisoformat(event["time"]) <= datetime.now(UTC)


async def test_what_the_object_says_of_itself_stands_in_the_envelope(door: Door) -> None:
    said = {"id": "e-1", "source": "/hotline", "type": "complaint.escalated.v1", "occurred_at": AT}
    answer = await door.post("/v1/complaints", {**COMPLAINT, **said, "level": 2, "unknown": {"kept": "京"}})
    assert answer.status_code == 202, answer.text
    [event] = await door.stored_events("complaints")
    assert (event["id"], event["source"], event["type"], event["time"]) == ("e-1", "/hotline", "complaint.escalated.v1", AT)
    assert not said.keys() & event["data"].keys()
    assert event["data"]["unknown"] == {"kept": "京"}


async def test_a_retry_is_the_same_event(door: Door) -> None:
    for path, body, topic in (
        ("/v1/evaluations", RATING, "evaluations"),
        ("/v1/complaints", COMPLAINT, "complaints"),
        ("/v1/enquiries", ENQUIRY, "complaints"),
        ("/v1/orders", ORDER, "orders"),
    ):
        assert (await door.post(path, body)).status_code == 202
        assert (await door.post(path, json.dumps(dict(reversed(body.items())), indent=1).encode())).status_code == 202
        stored = [event for event in await door.stored_events(topic) if event["data"].keys() <= body.keys()]
        assert len({(event["source"], event["id"]) for event in stored[-2:]}) == 1


@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
@pytest.mark.parametrize("packed", [False, True])
async def test_arrays_and_lines_packed_or_not(door: Door, content_type: str, packed: bool) -> None:
    objects = [{**COMPLAINT, "complaint_id": f"K-{n}"} for n in range(50)]
    objects[7] = {**objects[7], "severity": 9}
    if content_type == NDJSON:
        body = b"\r\n\n".join(json.dumps(one).encode() for one in objects) + b"\n"
    else:
        body = b" \n" + json.dumps(objects).encode()
    headers = {"content-encoding": "gzip"} if packed else {}
    answer = await door.post("/v1/complaints", gzip.compress(body) if packed else body, content_type, headers=headers)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["accepted"], answer.json()["rejected_total"]) == (49, 1)
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["problem"]["field"]) == (7, "severity")
    assert len(await door.stored("complaints")) == 49


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("/v1/evaluations", {"score": 99}, "score"),
        ("/v1/evaluations", {"contact_id": None}, "occurred_at"),
        ("/v1/evaluations", {"occurred_at": "yesterday"}, "occurred_at"),
        ("/v1/evaluations", {"occurred_at": "2099-01-01T00:00:00Z"}, "occurred_at"),
        ("/v1/evaluations", {"type": "complaint.closed.v1"}, "type"),
        ("/v1/evaluations", {"id": 5}, "id"),
        ("/v1/evaluations", {"id": ""}, "id"),
        ("/v1/evaluations", {"id": "a\tb"}, "id"),
        ("/v1/evaluations", {"source": "x" * 300}, "source"),
        ("/v1/evaluations", {"customer_id": None}, "customer_id"),
        ("/v1/complaints", {}, "complaint_id"),
    ],
)
async def test_a_refusal_names_the_objects_own_field(door: Door, path: str, change: dict[str, Any], field: str) -> None:
    answer = await door.post(path, {**RATING, **change})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[{}", "truncated"),
        (b"5", "expected `object`"),
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b'{"customer_id": "\\ud800 and more"}', "hex escape"),
        (b'{"customer_id": "a\\u0000"}', "NUL"),
    ],
)
async def test_what_cannot_be_read_is_a_400(door: Door, body: bytes, words: str) -> None:
    answer = await door.post("/v1/evaluations", body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


async def test_other_media_types_are_refused_with_those_that_are_taken(door: Door) -> None:
    answer = await door.post("/v1/orders", b"a,b", "text/csv")
    assert answer.status_code == 415
    assert NDJSON in answer.json()["detail"]


@given(
    extra=st.dictionaries(
        st.text(max_size=8), st.text(max_size=8) | st.integers(-(2**53), 2**53) | st.none() | st.lists(st.booleans())
    ),
    given_id=st.none() | st.text(min_size=1, max_size=20),
)
def test_whatever_is_wrapped_is_an_event_to_every_reader(extra: dict[str, Any], given_id: str | None) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    said = {"id": given_id} if given_id else {}
    whole = {**extra, **COMPLAINT, **said}
    raw = json.dumps(whole).encode("utf-8", "surrogatepass")
    decoded, [value] = wrap([raw], COMPLAINT_EVENTS, "client", now, None)
    [event] = decoded.events
    if isinstance(event, Refused):
        return
    assert decode_structured(value) == event
    assert json.loads(value)["data"] == {k: v for k, v in whole.items() if k not in ("id", "source", "type", "occurred_at")}
