"""POST /v1/events: CloudEvents over HTTP in three modes; what is refused, and in which words."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from closedloop.common.events.contract import example_file
from closedloop.common.events.decoder import decode_record
from closedloop.common.events.rules import MAX_EVENT_BYTES
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.common.kafka.partitioner import partition_of
from ingest.door import BATCH, STRUCTURED, Door, example, opened

RAW = json.dumps(example(), ensure_ascii=False).encode()
OBJECT = json.dumps({**example()["data"], "contact_id": "k-1"}).encode()
DEEP = b"[" * 1100 + b"]" * 1100


async def test_a_structured_event_is_forwarded_as_it_came(door: Door) -> None:
    raw = json.dumps({**example(data={"unknown": {"kept": [1, None]}}), "extension": "x"}, indent=2).encode()
    answer = await door.post("/v1/events", raw, STRUCTURED)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    [record] = await door.stored("evaluations")
    assert record.value == raw
    assert record.key == example()["data"]["customer_id"].encode()
    assert record.partition == partition_of(record.key, 6)
    assert dict(record.headers) == {"content-type": b"application/cloudevents+json"}


async def test_every_input_type_reaches_its_topic(door: Door) -> None:
    names = [str(cls.__struct_config__.tag) for topic in INPUT_TOPICS for cls in topic.types]
    answer = await door.post("/v1/events", [example(name) for name in names], BATCH)
    assert answer.json()["accepted"] == len(names) == 6
    for topic in INPUT_TOPICS:
        stored = {event["type"] for event in await door.stored_events(topic.name)}
        assert stored == {str(cls.__struct_config__.tag) for cls in topic.types}


async def test_a_binary_event_becomes_a_structured_one(door: Door) -> None:
    event = example(data={"comment": "满意 – ok"})
    attributes = {f"ce-{name}": event[name] for name in ("specversion", "id", "source", "type", "time")}
    attributes |= {"ce-subject": "C%2F1%20%E4%BA%AC", "ce-region2": "nj"}
    data = json.dumps(event["data"], ensure_ascii=False).encode()
    answer = await door.post("/v1/events", data, "application/json; charset=utf-8", headers=attributes)
    assert answer.status_code == 202, answer.text
    [record] = await door.stored("evaluations")
    stored = json.loads(record.value)
    assert stored["data"] == event["data"]
    assert (stored["subject"], stored["region2"], stored["id"]) == ("C/1 京", "nj", event["id"])
    assert data in record.value
    assert decode_record(record.value, record.headers).time == event["time"]


async def test_events_of_one_request_keep_their_order(door: Door) -> None:
    events = [example(id=f"{n:04}", data={"customer_id": f"C{n % 7}"}) for n in range(3_000)]
    assert (await door.post("/v1/events", events, BATCH)).json() == {"accepted": 3_000, "rejected": []}
    stored = await door.stored_events("evaluations")
    for customer in {f"C{n}" for n in range(7)}:
        ids = [event["id"] for event in stored if event["data"]["customer_id"] == customer]
        assert ids == sorted(ids)
    assert len(stored) == 3_000


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_more_than_one_kafka_batch_of_one_customer_keeps_its_order(
    kafka_bootstrap: str, tmp_path: Path, compression: str
) -> None:
    async with opened(kafka_bootstrap, tmp_path, compression=compression) as door:
        events = [example(id=f"{n:05}", data={"comment": "x" * 200}) for n in range(4_000)]
        answers = await asyncio.gather(
            *(door.post("/v1/events", events[first : first + 1_000], BATCH) for first in range(0, 4_000, 1_000))
        )
        assert [answer.json()["accepted"] for answer in answers] == [1_000] * 4
        stored = [event["id"] for event in await door.stored_events("evaluations")]
        assert sorted(stored) == [event["id"] for event in events]
        for first in range(0, 4_000, 1_000):
            of_request = [name for name in stored if first <= int(name) < first + 1_000]
            assert of_request == sorted(of_request)


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (RAW[:-5], 400, "truncated"),
        (b"[]", 400, "expected `object`"),
        (b"", 400, "empty"),
        (RAW.replace(b"slow_repair", b"slow\xffrepair"), 400, "UTF-8"),
        (RAW.replace(b"slow_repair", b"a\\u0000b"), 400, "NUL"),
        (RAW.replace(b"slow_repair", b"\\ud800"), 400, "surrogate"),
        (RAW.replace(b'"region"', b'"region": "SZ", "region"'), 400, "duplicate key"),
        (RAW.replace(b'"region"', b'"deep": ' + DEEP + b', "region"'), 400, "nested too deeply"),
        (RAW.replace(b"slow_repair", b"x" * MAX_EVENT_BYTES), 413, f"the limit is {MAX_EVENT_BYTES}"),
        (json.dumps(example(type="evaluation.invented.v9")).encode(), 422, "type: is not a known event type"),
        (json.dumps(example(time="2026-01-05T08:00:00")).encode(), 422, "time: needs an offset"),
        (json.dumps(example(time="2099-01-05T08:00:00Z")).encode(), 422, "time: is more than 5 min ahead"),
        (json.dumps(example(data={"score": 99})).encode(), 422, "data.score: must be on its scale, 1 to 10"),
        (json.dumps(example(data={"customer_id": None})).encode(), 422, "data.customer_id"),
        (json.dumps(example()).replace('"data"', '"dat"').encode(), 422, "data: is missing"),
    ],
)
async def test_poison_is_refused_with_the_field_and_the_reason(door: Door, raw: bytes, status: int, words: str) -> None:
    answer = await door.post("/v1/events", raw, STRUCTURED)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]
    if status == 422:
        assert answer.json()["field"] == words.partition(":")[0]


@pytest.mark.parametrize(
    "raw",
    [
        RAW.replace(b"slow_repair", b"slow\xffrepair"),
        RAW.replace(b"slow_repair", b"a\\u0000b"),
        RAW.replace(b"slow_repair", b"\\ud800"),
        RAW.replace(b"slow_repair", b"\\q, [{"),
        RAW.replace(b'"region"', b'"region": "SZ", "region"'),
        RAW.replace(b'"region"', b'"deep": ' + DEEP + b', "region"'),
        RAW.replace(b"slow_repair", b"x" * MAX_EVENT_BYTES),
        json.dumps(example(time="2099-01-05T08:00:00Z")).encode(),
        b"5",
        b"truth",
    ],
)
async def test_among_good_events_poison_is_refused_alone(door: Door, raw: bytes) -> None:
    for path, content_type, good in (("/v1/events", BATCH, RAW), ("/v1/evaluations", "application/json", OBJECT)):
        answer = await door.post(path, b"[" + b" , ".join([good, raw, good]) + b"]\n", content_type)
        assert answer.status_code == 202, answer.text
        assert (answer.json()["accepted"], answer.json()["rejected_total"]) == (2, 1)
        assert answer.json()["rejected"][0]["index"] == 1
    assert len(await door.stored("evaluations")) == 4


@pytest.mark.parametrize(
    "body", [b"[%b" % RAW, b"[%b,]" % RAW, b"[%b]]" % RAW, b"{%b}" % RAW, b"[%b], 5" % RAW, b'["' + RAW, b"[}"]
)
async def test_a_body_that_is_no_array_is_refused_whole(door: Door, body: bytes) -> None:
    answer = await door.post("/v1/events", body, BATCH)
    assert (answer.status_code, answer.json()["type"]) == (400, "bad-request")
    assert await door.stored("evaluations") == []


async def test_what_the_services_say_themselves_is_not_taken(door: Door) -> None:
    own = json.loads(example_file("recovery.queued.v1").read_text(encoding="utf-8"))
    answer = await door.post("/v1/events", own, STRUCTURED)
    assert (answer.status_code, answer.json()["field"]) == (422, "type")
    assert "order.status_changed.v1" in answer.json()["detail"]


async def test_a_problem_never_repeats_personal_data(door: Door) -> None:
    answer = await door.post("/v1/events", example(data={"phone": "13912345678"}), STRUCTURED)
    assert answer.status_code == 422
    assert "13912345678" not in answer.text


async def test_at_most_a_hundred_refusals_are_listed_and_all_are_counted(door: Door) -> None:
    events = [example(id=f"{n}", data={"score": 99 if n % 2 else 5}) for n in range(500)]
    answer = (await door.post("/v1/events", events, BATCH)).json()
    assert (answer["accepted"], answer["rejected_total"], len(answer["rejected"])) == (250, 250, 100)
    assert [rejected["index"] for rejected in answer["rejected"]] == list(range(1, 200, 2))
    assert len(await door.stored("evaluations")) == 250


async def test_a_batch_of_which_nothing_can_be_taken_is_a_422_that_lists_why(door: Door) -> None:
    answer = await door.post("/v1/events", [example(data={"score": 99}), example(time="x")], BATCH)
    assert answer.status_code == 422
    body = answer.json()
    assert (body["accepted"], body["rejected_total"], body["status"]) == (0, 2, 422)
    assert [rejected["problem"]["field"] for rejected in body["rejected"]] == ["data.score", "time"]


async def test_an_empty_batch_is_done_at_once(door: Door) -> None:
    answer = await door.post("/v1/events", b"[]", BATCH)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "rejected": []})


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/cloudevents+json; charset=gbk", ""])
async def test_other_media_types_are_named_with_those_that_are_taken(door: Door, content_type: str) -> None:
    answer = await door.post("/v1/events", RAW, content_type)
    assert answer.status_code == 415
    assert BATCH in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"ce-id": ""}, 422, "id"),
        ({"ce-time": ""}, 422, "time"),
        ({"ce-type": "x.y"}, 422, "type"),
        ({"ce-id": "%FF"}, 400, "ce-id"),
        ({"ce-specversion": "0.3"}, 422, "specversion"),
    ],
)
async def test_a_binary_event_with_a_bad_header_is_refused_by_its_name(
    door: Door, headers: dict[str, str], status: int, field: str
) -> None:
    event = example()
    sent: dict[str, Any] = {f"ce-{name}": event[name] for name in ("specversion", "id", "source", "type", "time")}
    answer = await door.post("/v1/events", event["data"], "application/json", headers={**sent, **headers})
    assert (answer.status_code, answer.json()["field"]) == (status, field)


async def test_the_trace_goes_on_in_the_answer_and_in_kafka(door: Door) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "r-1"}
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = await door.post("/v1/events", [example(), example(id="traced", traceparent=own)], BATCH, headers=headers)
    assert (answer.headers["x-request-id"], answer.headers["x-content-type-options"]) == ("r-1", "nosniff")
    assert answer.headers["traceparent"].split("-")[1] == trace
    headers_by_id = {json.loads(r.value)["id"]: dict(r.headers) for r in await door.stored("evaluations")}
    assert headers_by_id[example()["id"]]["traceparent"].decode() == answer.headers["traceparent"]
    assert "traceparent" not in headers_by_id["traced"]
    wrapped = await door.post("/v1/evaluations", {**example()["data"], "id": "w"}, headers=headers)
    [event] = [event for event in await door.stored_events("evaluations") if event["id"] == "w"]
    assert event["traceparent"] == wrapped.headers["traceparent"]
