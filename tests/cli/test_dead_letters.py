"""`closedloop dlq` on real Kafka: dead letters as the services write them, seen, and put back where they came from."""

import asyncio
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.commandline import Cli
from cli.kafka_records import records_of
from closedloop.cli.dead_letters.spans import METADATA_MAX_CHARS, Spans
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import Rejection
from closedloop.common.events.topics import Topic, dead_letter_name, dead_letter_topics
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.kafka.source import Record
from closedloop.local.kafka import KafkaServer

PARTITIONS = 3
POISON = [
    (
        b"C1",
        b'{"type":"evaluation.submitted.v1","data":{"phone":"+8613812345678","score":99}}',
        [("content-type", b"x/y")],
        "data.score",
    ),
    (b"C2", b"\xff\xfe\x00 13812345678", [], "json"),
    (b"C5", None, [("note", b"a tombstone")], "json"),
    (b"C3", b'{"type":"x.v9"}', [("traceparent", b"00-1"), ("ce_x", b"\xff")], "type"),
    (b"C4", b'{"score":"138 1234 5678"}', [], "data.score"),
]


@dataclass(frozen=True)
class Letters:
    """A topic with records that a service refused."""

    bootstrap: str
    topic: str
    dead_letters: str
    refused: Sequence[Record]


@pytest.fixture
def letters(kafka_bootstrap: str, topic_prefix: str) -> Letters:
    topic = f"{topic_prefix}evaluations"
    name = dead_letter_name(topic, "kpi")

    async def prepare() -> list[Record]:
        kafka = KafkaSettings(bootstrap=kafka_bootstrap)
        await ensure_topics(kafka, tuple(Topic(n, "customer_id", (), (), "", partitions=PARTITIONS) for n in (topic, name)))
        sink = KafkaSink(kafka, "test")
        # a producer with a partitioner of its own: the partition is what it is
        await sink.publish([Message(topic, key, value, headers, 1 + i % 2) for i, (key, value, headers, _) in enumerate(POISON)])
        await sink.stop()
        return sorted(
            await asyncio.to_thread(records_of, kafka_bootstrap, topic, PARTITIONS), key=lambda r: (r.timestamp, r.offset)
        )

    records = asyncio.run(prepare())
    refuse(kafka_bootstrap, records)
    return Letters(kafka_bootstrap, topic, name, records)


def refuse(bootstrap: str, records: Sequence[Record]) -> None:
    """As a process of kpi does that has not refused them before."""
    reasons = {(key, value): reason for key, value, _, reason in POISON}
    rejections = [
        Rejection(r, "decode" if reasons[r.key, r.value] == "json" else "rules", reasons[r.key, r.value], "must be otherwise")
        for r in records
    ]

    async def publish() -> None:
        kafka = KafkaSettings(bootstrap=bootstrap)
        sink = KafkaSink(kafka, "test")
        await DeadLetters(kafka, sink, "kpi").publish(rejections)
        await sink.stop()

    asyncio.run(publish())


def came_back(letters: Letters) -> list[Record]:
    """What stands in the origin topic beyond the records that were refused."""
    known = {(r.partition, r.offset) for r in letters.refused}
    records = records_of(letters.bootstrap, letters.topic, PARTITIONS)
    return [r for r in records if (r.partition, r.offset) not in known]


def content(records: Sequence[Record]) -> list[object]:
    return sorted(((r.partition, r.key, r.value, tuple(r.headers)) for r in records), key=repr)


def test_dead_letters_are_counted_by_stage_and_reason(cli: Cli, letters: Letters) -> None:
    ran = cli("dlq", "list", KAFKA_BOOTSTRAP=letters.bootstrap)
    assert ran.code == 0, ran.err
    lines = ran.out[ran.out.index(letters.dead_letters) :].splitlines()
    assert lines[0].split()[1:3] == ["5", "0"], "five letters, none replayed"
    assert {tuple(line.split()) for line in lines[1:4]} == {
        ("decode", "json", "2"),
        ("rules", "data.score", "2"),
        ("rules", "type", "1"),
    }


def test_a_letter_is_shown_with_origin_reason_and_payload_but_no_telephone_number(cli: Cli, letters: Letters) -> None:
    ran = cli("dlq", "show", letters.dead_letters, KAFKA_BOOTSTRAP=letters.bootstrap)
    assert ran.code == 0, ran.err
    origin = letters.refused[0]
    assert f"origin   {origin.topic}/{origin.partition} @ {origin.offset}" in ran.out
    assert "refused  by kpi, rules: data.score" in ran.out
    assert "because  must be otherwise" in ran.out
    assert "header content-type x/y" in ran.out
    assert "payload  \\xff\\xfe\\x00 *********78" in ran.out
    assert "(no value: a tombstone)" in ran.out
    assert "1234" not in ran.out
    assert ran.out.count("payload") == 5


def test_letters_to_show_can_be_chosen(cli: Cli, letters: Letters) -> None:
    environment = {"KAFKA_BOOTSTRAP": letters.bootstrap}
    assert cli("dlq", "show", letters.dead_letters, "--reason", "type", **environment).out.count("payload") == 1
    assert cli("dlq", "show", letters.dead_letters, "--stage", "decode", "--limit", 1, **environment).out.count("payload") == 1
    one = cli("dlq", "show", letters.dead_letters, "--partition", 1, "--offset", 1, "--limit", 1, **environment)
    assert f"{letters.dead_letters}/1 @ 1," in one.out
    assert one.out.count("payload") == 1
    assert "No dead letter" in cli("dlq", "show", letters.dead_letters, "--stage", "bug", **environment).out


def test_a_replay_brings_the_same_bytes_to_the_same_partition_once(cli: Cli, letters: Letters) -> None:
    environment = {"KAFKA_BOOTSTRAP": letters.bootstrap}
    dry = cli("dlq", "replay", letters.dead_letters, "--dry-run", **environment)
    assert f"5 to replay to {letters.topic}." in dry.out
    assert came_back(letters) == []

    ran = cli("dlq", "replay", letters.dead_letters, "--reason", "data.score", "--yes", **environment)
    assert (ran.code, f"Published 2 records to {letters.topic}." in ran.out) == (0, True), ran.err
    assert content(came_back(letters)) == content([r for r in letters.refused if r.key in (b"C1", b"C4")])

    rest = cli("dlq", "replay", letters.dead_letters, "--yes", **environment)
    assert "2 were replayed before and are left out" in rest.out
    assert content(came_back(letters)) == content(letters.refused)

    again = cli("dlq", "replay", letters.dead_letters, "--yes", **environment)
    assert "Nothing to replay." in again.out
    assert len(came_back(letters)) == 5
    assert "(replayed)" in cli("dlq", "show", letters.dead_letters, **environment).out
    listed = cli("dlq", "list", **environment).out
    assert listed[listed.index(letters.dead_letters) :].split()[1:3] == ["5", "5"]

    assert "Published 5" in cli("dlq", "replay", letters.dead_letters, "--yes", "--again", **environment).out
    assert len(came_back(letters)) == 10


def test_a_letter_that_a_frozen_process_wrote_twice_is_shown_and_replayed_once(cli: Cli, letters: Letters) -> None:
    environment = {"KAFKA_BOOTSTRAP": letters.bootstrap}
    refuse(letters.bootstrap, letters.refused[:2])
    shown = cli("dlq", "show", letters.dead_letters, **environment).out
    assert shown.count("payload") == 5
    assert "2 passed over: copies of letters already counted" in shown

    ran = cli("dlq", "replay", letters.dead_letters, "--yes", **environment)
    assert "2 passed over: copies" in ran.out
    assert f"Published 5 records to {letters.topic}." in ran.out
    assert content(came_back(letters)) == content(letters.refused)

    refuse(letters.bootstrap, letters.refused[:1])
    assert "Nothing to replay." in cli("dlq", "replay", letters.dead_letters, "--yes", **environment).out
    listed = cli("dlq", "list", **environment).out
    assert listed[listed.index(letters.dead_letters) :].split()[1:3] == ["8", "7"], "copies are marked with what they are copies of"


def test_the_same_place_in_a_topic_made_anew_is_no_copy(cli: Cli, letters: Letters) -> None:
    first = letters.refused[0]
    [other] = [r for r in letters.refused if r.partition != first.partition and r.offset == first.offset]
    anew = dataclasses.replace(other, partition=first.partition)
    refuse(letters.bootstrap, [anew])
    ran = cli("dlq", "replay", letters.dead_letters, "--yes", KAFKA_BOOTSTRAP=letters.bootstrap)
    assert "Published 6 records" in ran.out


def test_a_replay_can_be_of_some_offsets_and_asks_first(cli: Cli, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"KAFKA_BOOTSTRAP": letters.bootstrap}
    span = ("--partition", 1, "--from", 1, "--to", 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli("dlq", "replay", letters.dead_letters, *span, **environment).code == 1
    assert came_back(letters) == []
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli("dlq", "replay", letters.dead_letters, *span, **environment).code == 0
    assert len(came_back(letters)) == 1


def test_a_letter_that_does_not_say_where_it_came_from_is_left_out(cli: Cli, letters: Letters) -> None:
    async def forge() -> None:
        sink = KafkaSink(KafkaSettings(bootstrap=letters.bootstrap), "test")
        forged = [
            ("x-error-topic", b"tickets"),
            ("x-error-consumer", b"kpi"),
            ("x-error-partition", b"0"),
            ("x-error-offset", b"1"),
        ]
        await sink.publish([Message(letters.dead_letters, b"k", b"v", headers, 0) for headers in ([], forged)])
        await sink.stop()

    asyncio.run(forge())
    ran = cli("dlq", "replay", letters.dead_letters, "--yes", KAFKA_BOOTSTRAP=letters.bootstrap)
    assert "2 do not say where they came from and are left out." in ran.err
    assert len(came_back(letters)) == 5
    assert (
        "it does not say where" in cli("dlq", "show", letters.dead_letters, "--partition", 0, KAFKA_BOOTSTRAP=letters.bootstrap).out
    )


def test_a_topic_that_does_not_exist_is_told(cli: Cli, kafka_bootstrap: str) -> None:
    for command in ("show", "replay"):
        ran = cli("dlq", command, "nothing-kpi-dlq", KAFKA_BOOTSTRAP=kafka_bootstrap)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "There is no topic nothing-kpi-dlq; `closedloop dlq list` names those with dead letters.\n"


def test_no_dead_letters_is_a_sentence(cli: Cli, empty_kafka: KafkaServer) -> None:
    ran = cli("dlq", "list", KAFKA_BOOTSTRAP=empty_kafka.bootstrap)
    assert "Kafka has no dead-letter topics" in ran.out
    assert cli("topics", "--create", KAFKA_BOOTSTRAP=empty_kafka.bootstrap).code == 0
    assert (
        f"No dead letters in {len(dead_letter_topics())} topics." in cli("dlq", "list", KAFKA_BOOTSTRAP=empty_kafka.bootstrap).out
    )


offsets = st.lists(st.integers(0, 60), max_size=40)


@settings(deadline=None)
@given(offsets, st.integers(0, 20))
def test_what_was_replayed_survives_being_kept_in_a_commit(replayed: list[int], first: int) -> None:
    spans = Spans()
    for offset in replayed:
        spans.add(offset, offset + 1)
    assert {o for o in range(62) if o in spans} == set(replayed)
    kept = Spans.from_commit(*spans.to_commit(first))
    assert {o for o in range(first, 62) if o in kept} == {o for o in replayed if o >= first}


def test_too_many_spans_for_a_commit_are_cut_at_their_end_and_foreign_text_counts_for_nothing() -> None:
    spans = Spans()
    for offset in range(0, 20_000, 2):
        spans.add(offset, offset + 1)
    position, metadata = spans.to_commit(0)
    assert len(metadata) <= METADATA_MAX_CHARS
    kept = Spans.from_commit(position, metadata)
    assert 0 in kept
    assert 100 in kept
    assert 101 not in kept
    assert 19_998 not in kept
    assert list(Spans.from_commit(3, "somebody else's; -4, 7-x")) == [(0, 3)]
