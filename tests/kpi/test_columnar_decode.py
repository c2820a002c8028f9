"""Reading in columns takes and refuses exactly what the common decoder does, and reads the same values."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
import xxhash
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closedloop.common.consumer.rows import receive, rejection_of
from closedloop.common.events.rules import Refused, parse_time
from closedloop.common.events.topics import INPUT_TOPICS, TOPIC_BY_NAME
from closedloop.kpi.columnar.decode import ColumnarDecoder, TopicColumns
from closedloop.kpi.columnar.judge import Judge
from closedloop.kpi.columnar.strictness import Evidence, StrictnessProof, scanned
from closedloop.kpi.columnar.times import parse_times
from closedloop.kpi.domain.columns import COLUMNS
from kpi.records import APPENDED, batch, encoded, envelope, numbered, rating, record

RETENTION = timedelta(days=400)
NEEDED = {topic: frozenset(columns) for topic, columns in COLUMNS.items()}
DECODER = ColumnarDecoder(NEEDED, RETENTION)


def as_column(name: str, value: Any) -> Any:
    """What stands in a column for a field's value."""
    if name == "level" and value is not None:
        return str(value)
    return None if type(value) is int and not -(2**63) < value < 2**63 else value


def by_the_common_decoder(records: Sequence[ConsumerRecord]) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, str, str]]]:
    """The plain way: (rows of (offset, microseconds, hash, all columns), refusals)."""
    rows: list[tuple[Any, ...]] = []
    refused: list[tuple[int, str, str, str]] = []
    for r in records:
        try:
            received = receive(r)
        except Refused as error:
            rejection = rejection_of(r, error)
            refused.append((r.offset, rejection.stage, rejection.reason, rejection.message))
            continue
        event = received.event
        if received.at < datetime.fromtimestamp(r.timestamp / 1000, UTC) - RETENTION:
            refused.append((r.offset, "late", "time", ""))
            continue
        values = {"type": event.type, "at": received.at}
        for name in COLUMNS[r.topic].keys() - values.keys():
            value = getattr(event.data, name, None)
            values[name] = as_column(name, value)
        seed = xxhash.xxh3_64_intdigest(event.source.encode())
        micros = (received.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        rows.append((micros, xxhash.xxh3_64_intdigest(event.id.encode(), seed), values))
    return rows, refused


def in_columns(records: Sequence[ConsumerRecord]) -> tuple[list[tuple[Any, ...]], list[tuple[int, str, str, str]]]:
    decoded, rejections, _ = DECODER.decode(batch(records))
    rows: list[tuple[Any, ...]] = []
    for part in decoded:
        values = part.frame.to_dicts()
        rows += zip(part.at.tolist(), part.hashes.tolist(), values, strict=True)
    return rows, [(r.record.offset, r.stage, r.reason, "" if r.stage == "late" else r.message) for r in rejections]


def assert_same(records: Sequence[ConsumerRecord]) -> None:
    assert in_columns(records) == by_the_common_decoder(records)


POISON: dict[str, bytes | None] = {
    "tombstone": None,
    "nothing": b"",
    "invalid UTF-8": encoded(envelope(rating(comment="x"))).replace(b'"x"', b'"\xff\xfe"'),
    "invalid UTF-8 in an unknown field": encoded(envelope(rating(extra="x"))).replace(b'"x"', b'"\xff"'),
    "NUL": encoded(envelope(rating(reason="a\0b"))),
    "a raw control character": encoded(envelope(rating(reason="ab"))).replace(b"ab", b"a\x01b"),
    "duplicate key": encoded(envelope(rating())).replace(b'"region":"NJ"', b'"region":"NJ","region":"SZ"'),
    "duplicate key of one letter": encoded(envelope(rating())).replace(b'"region":"NJ"', b'"region":"NJ","x":1,"x":2'),
    "duplicate key with a space before the colon": encoded(envelope(rating())).replace(b'"region"', b'"region" :"NJ","region"'),
    "duplicate key with an escape": encoded(envelope(rating())).replace(b'"region"', b'"r\\u0065gion":"NJ","region"'),
    "duplicate key in the envelope": encoded(envelope(rating())).replace(b'"id":"e-1"', b'"id":"e-1","id":"e-2"'),
    "duplicate data": encoded(envelope(rating())).replace(b'"data":', b'"data":{},"data":'),
    "lone surrogate": encoded(envelope(rating())).replace(b'"NJ"', b'"\\ud800"'),
    "lone surrogate in a comment": encoded(envelope(rating(comment="QQ"))).replace(b"QQ", b"\\ud800"),
    "a time without zone": encoded(envelope(rating(), time="2026-11-20T08:00:00")),
    "a time in 2099": encoded(envelope(rating(), time="2099-01-01T00:00:00Z")),
    "a time in 1999": encoded(envelope(rating(), time="1999-12-31T23:59:59Z")),
    "a day that does not exist": encoded(envelope(rating(), time="2026-02-29T00:00:00Z")),
    "second 60": encoded(envelope(rating(), time="2026-02-28T23:59:60Z")),
    "hour 24": encoded(envelope(rating(), time="2026-02-28T24:00:00Z")),
    "an offset of a day": encoded(envelope(rating(), time="2026-11-20T08:00:00+24:00")),
    "digits of another script": encoded(envelope(rating(), time="2026-11-20T08:00:0٠Z"), ensure_ascii=False),
    "1e999": encoded(envelope(rating())).replace(b'"score":7', b'"score":1e999'),
    "deep nesting": encoded(envelope(rating())).replace(b'"score":7', b'"score":7,"deep":' + b"[" * 1100 + b"]" * 1100),
    "unclosed nesting": b"[" * 5000,
    "too large": encoded(envelope(rating(comment="x" * 900_000))),
    "unknown type": encoded(envelope(rating(), type_="evaluation.submitted.v9")),
    "no type": encoded({k: v for k, v in envelope(rating()).items() if k != "type"}),
    "a type of another topic": encoded(
        envelope({"customer_id": "C", "region": "NJ", "complaint_id": "c"}, "complaint.escalated.v1")
    ),
    "the type that nothing is": encoded(envelope(rating(), type_="never")),
    "no region": encoded(envelope({k: v for k, v in rating().items() if k != "region"})),
    "a number for text": encoded(envelope(rating(customer_id=7))),
    "text for a number": encoded(envelope(rating(score="7"))),
    "no score": encoded(envelope({k: v for k, v in rating().items() if k != "score"})),
    "a score off its scale": encoded(envelope(rating(score=11))),
    "a scale upside down": encoded(envelope(rating(scale_min=5, scale_max=5, score=5))),
    "an empty id": encoded(envelope(rating(), id="")),
    "an id of 257 characters": encoded(envelope(rating(), id="i" * 257)),
    "a customer of 257 characters": encoded(envelope(rating(customer_id="i" * 257))),
    "an order of 300 characters": encoded(envelope(rating(order_id="i" * 300))),
    "an id with DEL": encoded(envelope(rating(), id="a\x7f"), ensure_ascii=False),
    "a region with a space": encoded(envelope(rating(region="N J"))),
    "a channel of 65 letters": encoded(envelope(rating(channel="c" * 65))),
    "a phone that is none": encoded(envelope(rating(phone="12345"))),
    "an unknown kind": encoded(envelope(rating(kind="other"))),
    "other specversion": encoded(envelope(rating(), specversion="0.3")),
    "an array": b"[" + encoded(envelope(rating())) + b"]",
    "two events": encoded(envelope(rating())) * 2,
    "text after the event": encoded(envelope(rating())) + b"x",
    "a byte order mark": b"\xef\xbb\xbf" + encoded(envelope(rating())),
    "401 days old": encoded(envelope(rating(), time=(APPENDED - timedelta(days=401)).isoformat())),
}
FINE: dict[str, bytes] = {
    "plain": encoded(envelope(rating())),
    "spaces": encoded(envelope(rating()), separators=(", ", ": ")),
    "spaces before colons": encoded(envelope(rating()), separators=(" , ", " : ")),
    "several lines": encoded(envelope(rating()), indent=2),
    "an unknown field": encoded(envelope(rating(extra={"a": [1, {"region": "x"}]}))),
    "1e999 in an unknown field": encoded(envelope(rating(extra=1))).replace(b'"extra":1', b'"extra":1e999'),
    "1e999 in a known field at the wrong place": encoded(envelope(rating(), region=1)).replace(b'"region":1', b'"region":1e999'),
    "an unknown attribute": encoded(envelope(rating(), partitionkey="C")),
    "nulls": encoded(envelope(rating(channel=None, comment=None))),
    "Chinese": encoded(envelope(rating(comment="很不满意")), ensure_ascii=False),
    "Chinese in escapes": encoded(envelope(rating(comment="很不满意"))),
    "a long comment": encoded(envelope(rating(comment="x" * 5000))),
    "an empty comment": encoded(envelope(rating(comment=""))),
    "an id of 256 characters": encoded(envelope(rating(), id="i" * 256)),
    "an id of 256 Chinese characters": encoded(envelope(rating(), id="好" * 256), ensure_ascii=False),
    "satisfied only": encoded(envelope({"customer_id": "C", "region": "NJ", "kind": "survey", "satisfied": False})),
    "another scale": encoded(envelope(rating(score=0, scale_min=0, scale_max=5))),
    "UTC": encoded(envelope(rating(), time="2026-11-20T00:00:00Z")),
    "milliseconds": encoded(envelope(rating(), time="2026-11-20T00:00:00.123Z")),
    "nanoseconds": encoded(envelope(rating(), time="2026-11-20T08:00:00.123456789+08:00")),
    "another zone": encoded(envelope(rating(), time="2026-11-19T19:30:00.5-04:30")),
    "a phone": encoded(envelope(rating(phone="+8613800138000"))),
    "399 days old": encoded(envelope(rating(), time=(APPENDED - timedelta(days=399)).isoformat())),
    "4 minutes ahead": encoded(envelope(rating(), time=(APPENDED + timedelta(minutes=4)).isoformat())),
}


@pytest.mark.parametrize("what", POISON)
def test_poison_is_refused_as_everywhere(what: str) -> None:
    records = [record(POISON[what])]
    rows, refused = in_columns(records)
    assert not rows
    assert len(refused) == 1
    assert_same(records)


@pytest.mark.parametrize("number", [0, 5, -(2**63), 2**64, 10**30, 10**400])
def test_a_severity_that_is_none_is_refused_alone(number: int) -> None:
    data = {"customer_id": "C", "region": "NJ", "complaint_id": "c", "topic_path": "a"}
    values = [encoded(envelope({**data, "severity": s}, "complaint.registered.v1")) for s in (1, number, 4)]
    records = [record(value, "complaints", offset=offset) for offset, value in enumerate(values)]
    _, refused = in_columns(records)
    assert [offset for offset, *_ in refused] == [1]
    assert_same(records)


@pytest.mark.parametrize("what", FINE)
def test_what_is_fine_everywhere_is_taken(what: str) -> None:
    records = [record(FINE[what])]
    rows, refused = in_columns(records)
    assert len(rows) == 1
    assert not refused
    assert_same(records)


def test_poison_among_many_is_isolated_in_place() -> None:
    values: list[bytes | None] = []
    for round_ in range(40):
        for poison in POISON.values():
            values += [encoded(envelope(rating(), id=f"{round_}-{len(values) + n}")) for n in range(3)] + [poison]
            values += FINE.values()
    assert_same([record(value, offset=offset) for offset, value in enumerate(values)])


def test_binary_mode_is_read_from_the_headers() -> None:
    attributes = {k: v for k, v in envelope({}).items() if k != "data"}
    headers = [(f"ce_{k}", v.encode()) for k, v in attributes.items()]
    records = [
        record(encoded(rating()), headers=[*headers, ("content-type", b"application/json")], offset=0),
        record(encoded(envelope(rating())), headers=[("traceparent", b"00-1-2-01")], offset=1),
        record(encoded(rating()), headers=headers[1:], offset=2),
        record(encoded(rating()), headers=[("ce_specversion", b"\xff")], offset=3),
    ]
    rows, refused = in_columns(records)
    assert (len(rows), len(refused)) == (2, 2)
    assert_same(records)


# --- any event, valid or bent ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
codes = st.sampled_from(["NJ", "SZ", "broad_band", "", "a b", "x" * 65, "南京"])
huge = st.sampled_from([2**62, -(2**63), 2**64, 10**30, 10**400])
numbers = st.one_of(st.integers(-5, 12), huge, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), texts)
moments = st.integers(883_612_800, 1_861_920_000).map(lambda seconds: datetime.fromtimestamp(seconds + seconds % 1000 / 1000, UTC))
times = st.one_of(
    moments.map(lambda at: at.astimezone(timezone(timedelta(hours=8))).isoformat()),
    moments.map(lambda at: at.isoformat(timespec="seconds").replace("+00:00", "Z")),
    moments.map(lambda at: at.astimezone(timezone(-timedelta(hours=3, minutes=30))).isoformat(timespec="milliseconds")),
    st.from_regex(r"\A20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\Z"),
    texts,
)
NUMBERS = {"scale_min", "scale_max", "severity", "duration_s", "expected_by", "first_try", "phone", "customer_class"}
FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["survey", "sms_rating", "other"]),
    "status": st.sampled_from(["completed", "failed", "lost"]),
    "customer_class": st.sampled_from(["gold", "silver", "platinum"]),
    "score": numbers,
    "scale_min": numbers,
    "scale_max": numbers,
    "severity": numbers,
    "duration_s": numbers,
    "level": numbers,
    "satisfied": st.booleans(),
    "reached": st.booleans(),
    "regions": st.lists(codes, max_size=3),
    "priority": st.one_of(st.integers(1, 4), huge),
    "attempt": st.one_of(st.integers(1, 4), huge),
    "seconds_to_first_contact": numbers,
    "first_try": st.booleans(),
    "expected_by": times,
    "phone": st.sampled_from(["+8613800138000", "13800138000", "+1"]),
    **dict.fromkeys(["region", "product", "process", "channel", "order_type", "step"], codes),
}


@st.composite
def events(draw: st.DrawFn, topic: str) -> bytes:
    cls = draw(st.sampled_from(TOPIC_BY_NAME[topic].types))
    data_fields = cls.__annotations__["data"].__struct_fields__
    chosen = {name for name in data_fields if draw(st.integers(0, 9)) < 6}
    required = {field.name for field in msgspec.structs.fields(cls.__annotations__["data"]) if field.required}
    data = {name: draw(FIELD_VALUES.get(name, texts)) for name in data_fields if name in chosen or name in required}
    if draw(st.integers(0, 4)) == 0:
        data[draw(texts)] = draw(numbers)
    event = envelope(data, str(cls.__struct_config__.tag), id=draw(texts), time=draw(times))
    compact = draw(st.booleans())
    return encoded(event, ensure_ascii=draw(st.booleans()), separators=(",", ":") if compact else (", ", ": "))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), topic=st.sampled_from(sorted(COLUMNS)))
def test_any_batch_is_taken_and_refused_as_by_the_common_decoder(data: st.DataObject, topic: str) -> None:
    values = data.draw(st.lists(events(topic), min_size=1, max_size=12))
    assert_same([record(value, topic, offset=offset) for offset, value in enumerate(values)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([v for v in [*FINE.values(), *POISON.values()] if v and len(v) < 2000]), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_bytes_bent_anywhere_are_taken_and_refused_as_by_the_common_decoder(values: list[bytes], random: Any) -> None:
    bent = []
    for value in values:
        octets = bytearray(value)
        for _ in range(random.randrange(3)):
            place = random.randrange(len(octets))
            octets[place : place + random.randrange(2)] = random.choice([b'"', b":", b"\\", b"}", b",", b" ", b"\xff", b"0", b""])
        bent.append(bytes(octets))
    assert_same([record(value, offset=offset) for offset, value in enumerate(bent)])


# --- the proofs ---

names = st.sampled_from(["type", "id", "order_id", "region", "step"])


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(names, max_size=4).map(lambda more: ["type", *more]), min_size=1, max_size=4), min_size=1))
def test_a_key_that_stands_twice_is_never_proved_unique(batches: list[list[list[str]]]) -> None:
    proof = StrictnessProof(["type", "id", "order_id", "region", "step"], ["type"], ["region"])
    for keys in batches:
        texts = [("{" + ",".join(f'"{key}":1' for key in of) + "}").encode() for of in keys]
        evidence = Evidence(np.arange(len(texts)), scanned(texts)[1], sum("region" in of for of in keys), is_whole=True)
        unproved = proof.unproved(texts, proof.look(proof.prepare(texts)), [evidence])
        assert unproved.tolist() == [len(set(of)) < len(of) for of in keys]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), min_size=1, max_size=5))
def test_a_string_of_255_bytes_is_never_overlooked(lengths: list[tuple[int, int]]) -> None:
    found, _ = scanned([('{"' + "k" * key + '":"' + "v" * value + '"}').encode() for key, value in lengths])
    for pair, is_long in zip(lengths, found, strict=True):
        assert is_long or max(pair) < 255


@pytest.mark.parametrize("topic", [topic.name for topic in INPUT_TOPICS])
def test_ordinary_events_are_proved_not_judged_one_by_one(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    monkeypatch.setattr(Judge, "event", lambda _, row: judged.append(row))
    values = []
    for cls in TOPIC_BY_NAME[topic].types:
        known = {"kind": "survey", "score": 7, "status": "failed", "topic_path": "a/b", "text": "x" * 50, "satisfied": True}
        data = {name: known.get(name, "x") for name in cls.__annotations__["data"].__struct_fields__ if name not in NUMBERS}
        event = envelope(data, str(cls.__struct_config__.tag), subject="C", datacontenttype="application/json")
        values += [encoded({**event, "id": f"e-{n}"}) for n in range(3)]
    decoder = ColumnarDecoder(NEEDED, RETENTION)
    for _ in range(2):
        [columns], rejections, _ = decoder.decode(numbered(values, topic))
        assert (len(columns.at), rejections, judged) == (len(values), [], [])


@settings(deadline=None)
@given(st.lists(times, min_size=1, max_size=20))
def test_times_are_what_the_common_rules_read(texts_: list[str]) -> None:
    micros, proved = parse_times(texts_)
    for text, value, sure in zip(texts_, micros, proved, strict=True):
        if sure:
            assert value == (parse_time(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_usual_times_need_no_second_look() -> None:
    usual = ["2026-11-20T08:00:00+08:00", "2026-02-28T23:59:59Z", "2028-02-29T00:00:00.123Z", "2026-12-31T23:59:59.999999-11:30"]
    assert parse_times(usual)[1].all()


# --- order, partitions, late ---


def test_two_threads_may_decode_at_once() -> None:
    values = [[encoded(envelope(rating(region=f"R{k}{n % 300}"), id=f"{n}")) for n in range(5000)] for k in range(2)]
    batches = [numbered(of) for of in values] * 3
    decoder = ColumnarDecoder(NEEDED, RETENTION)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(decoder.decode, batches))
    for batch_, ([columns], rejections, _) in zip(batches, found, strict=True):
        [alone], _, _ = DECODER.decode(batch_)
        assert not rejections
        assert columns.frame.equals(alone.frame)
        assert (columns.fingerprints == alone.fingerprints).all()


def test_partitions_and_watermarks_follow_what_was_accepted() -> None:
    records = [
        record(encoded(envelope(rating(), time="2026-11-20T01:00:00Z")), partition=1, offset=5),
        record(encoded(envelope(rating(), time="2026-11-20T03:00:00Z")), partition=1, offset=6),
        record(encoded(envelope(rating(), time="2099-11-20T03:00:00Z")), partition=1, offset=7),
        record(encoded(envelope(rating(), time="2026-11-20T02:00:00Z")), partition=4, offset=1),
        record(b"", partition=5, offset=1),
    ]
    [columns], rejections, watermarks = DECODER.decode(batch(records))
    assert columns.partitions.tolist() == [1, 1, 4]
    assert [(r.record.partition, r.record.offset) for r in rejections] == [(1, 7), (5, 1)]
    assert watermarks == {
        TopicPartition("evaluations", 1): datetime(2026, 11, 20, 3, tzinfo=UTC),
        TopicPartition("evaluations", 4): datetime(2026, 11, 20, 2, tzinfo=UTC),
    }


def test_only_the_needed_columns_are_read() -> None:
    decoder = ColumnarDecoder({"evaluations": frozenset({"region", "score"})}, RETENTION)
    [columns], _, _ = decoder.decode(numbered([FINE["plain"], FINE["satisfied only"]]))
    assert columns.frame.sort("score").equals(pl.DataFrame({"region": ["NJ", "NJ"], "score": [None, 7.0]}))
    assert columns.hashes.dtype == np.uint64
    assert isinstance(columns, TopicColumns)


def test_an_event_beyond_the_retention_says_so() -> None:
    _, [rejection], _ = DECODER.decode(numbered([POISON["401 days old"]]))
    assert (rejection.stage, rejection.reason) == ("late", "time")
    assert "400 days" in rejection.message
