"""Each event is counted once, in the minute in which it happened: under duplicates, disorder, lateness, redelivery, roll-back."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord

from closedloop.common.kafka.partitioner import partition_of
from closedloop.kpi.compaction import FANOUT, Compaction
from closedloop.kpi.consumer import KpiProcessor
from closedloop.kpi.counting import DUPLICATES, Counting
from closedloop.kpi.domain.catalogue import Catalogue
from kpi.counting import Engine
from kpi.records import APPENDED, batch, encoded, envelope, rating, record
from kpi.shipped import SHIPPED

COUNT = "dissatisfied_share"
Fields = dict[str, Any]


def event(number: int, at: datetime, **data: Any) -> bytes:
    return encoded(envelope(rating(**data), id=f"e-{number}", time=at.isoformat()))


def records(values: Sequence[bytes], *, partition: int = 0, offset: int = 0) -> list[ConsumerRecord]:
    return [record(value, offset=offset + n, partition=partition) for n, value in enumerate(values)]


async def test_a_duplicate_in_the_same_batch_counts_once(engine: Engine) -> None:
    await engine.take(batch(records([event(1, APPENDED, score=2), event(1, APPENDED, score=2), event(2, APPENDED, score=9)])))
    assert await engine.total(COUNT) == {(): (1, 2, 2)}


async def test_a_duplicate_in_a_later_batch_counts_once_even_for_a_process_that_was_restarted(engine: Engine) -> None:
    await engine.take(batch(records([event(1, APPENDED, score=2)])))
    await engine.take(batch(records([event(1, APPENDED, score=2)], offset=1)))
    restarted = Engine(engine.pool)
    await restarted.take(batch(records([event(1, APPENDED, score=2), event(2, APPENDED, score=3)], offset=2)))
    assert await engine.total(COUNT) == {(): (2, 2, 2)}


async def test_the_same_id_of_two_sources_is_two_events(engine: Engine) -> None:
    await engine.take(batch(records([encoded(envelope(rating(), source=f"/csp/{n}")) for n in (1, 2)])))
    assert await engine.total(COUNT) == {(): (0, 2, 2)}


def duplicates() -> dict[str, float]:
    return {content: DUPLICATES.labels("evaluations", content)._value.get() for content in ("same", "other")}


async def test_with_one_id_and_two_contents_the_first_wins_and_the_other_is_counted_as_such(engine: Engine) -> None:
    before = duplicates()
    await engine.take(batch(records([event(1, APPENDED, score=1), event(1, APPENDED, score=10), event(1, APPENDED, score=1)])))
    again = batch(records([event(1, APPENDED, score=10), event(1, APPENDED, score=1)], offset=3))
    await engine.take(again, rolls_back=True)
    await engine.take(again)
    await Engine(engine.pool).take(batch(records([event(1, APPENDED, score=9)], offset=5)))
    assert await engine.total(COUNT) == {(): (1, 1, 1)}
    assert {content: count - before[content] for content, count in duplicates().items()} == {"same": 2, "other": 3}


async def test_what_was_said_is_known_after_compaction_and_in_another_mode(engine: Engine) -> None:
    for number in range(FANOUT + 1):
        await engine.take(batch(records([event(number, APPENDED, score=2)], offset=number)))
    await Compaction(engine.pool, timedelta(days=400)).compact()
    before = duplicates()
    attributes = envelope({}, id="e-1", time=(APPENDED.astimezone(timezone(timedelta(hours=8)))).isoformat())
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items() if name != "data"]
    binary = [record(encoded(rating(score=score)), offset=20 + score, headers=headers) for score in (2, 3)]
    await Engine(engine.pool).take(batch(binary))
    assert {content: count - before[content] for content, count in duplicates().items()} == {"same": 1, "other": 1}


async def test_a_batch_with_other_contents_is_logged_once_and_without_them(engine: Engine) -> None:
    with structlog.testing.capture_logs() as logs:
        await engine.take(batch(records([event(1, APPENDED, score=score) for score in (1, 2, 3)])))
        await engine.take(batch(records([event(1, APPENDED, score=1)], offset=3)))
    said = [line for line in logs if line["log_level"] == "warning"]
    assert said == [
        {"log_level": "warning", "event": "ids came again with other content; the first counts", "events": {"evaluations": 2}}
    ]


async def test_what_was_rolled_back_is_counted_when_it_comes_again(engine: Engine) -> None:
    first = batch(records([event(1, APPENDED, score=2)]))
    await engine.take(first, rolls_back=True)
    assert await engine.total(COUNT) == {}
    await engine.take(first)
    await engine.take(batch(records([event(1, APPENDED, score=2)], offset=1)))
    assert await engine.total(COUNT) == {(): (1, 1, 1)}


async def test_a_late_event_counts_in_its_own_minute(engine: Engine) -> None:
    yesterday = APPENDED - timedelta(days=1, minutes=3)
    await engine.take(batch(records([event(1, APPENDED), event(2, yesterday, score=1), event(3, APPENDED)])))
    indicator = engine.catalogue.counted(COUNT)
    assert indicator is not None
    minute = int(yesterday.timestamp()) // 60
    frame = await engine.reader.totals(indicator, ("region",), minute, minute + 1)
    assert frame.rows() == [("NJ", minute, 1, 1, 1)]


async def test_memory_for_hashes_is_bounded_and_what_was_dropped_is_read_again(engine: Engine) -> None:
    small = Engine(engine.pool, max_seen_bytes=20_000)
    days = [APPENDED - timedelta(days=n) for n in range(40)]
    for start in range(0, 40, 10):
        await small.take(batch(records([event(d * 1000 + n, days[d]) for d in range(start, start + 10) for n in range(300)])))
    assert small.counting._seen.nbytes <= 20_000
    await small.take(batch(records([event(n, days[0]) for n in range(301)])))
    assert await small.total(COUNT) == {(): (0, 12_001, 12_001)}


async def test_an_older_event_than_what_is_kept_is_rejected_with_that_reason(engine: Engine) -> None:
    [rejection] = await engine.take(batch(records([event(1, APPENDED - timedelta(days=401)), event(2, APPENDED)])))
    assert (rejection.stage, rejection.reason, rejection.record.offset) == ("late", "time", 0)
    assert await engine.total(COUNT) == {(): (0, 1, 1)}


async def test_the_catalogue_may_change_between_batches(engine: Engine) -> None:
    """An indicator that comes later begins then; the others go on."""
    known = engine.catalogue.counted(COUNT)
    added = engine.catalogue.counted("hotline_dissatisfied_share")
    assert known is not None and added is not None
    before = Engine(engine.pool, Catalogue([known]))
    await before.take(batch(records([event(1, APPENDED, kind="sms_rating", channel="hotline", score=1)])))
    after = Engine(engine.pool, Catalogue([added, known]))
    await after.take(batch(records([event(2, APPENDED, kind="sms_rating", channel="hotline", score=1)], offset=1)))
    assert await after.total(COUNT) == {(): (2, 2, 2)}
    assert await after.total(added.id) == {(): (1, 1, 1)}


async def test_a_shuffled_day_with_duplicates_and_late_events_equals_a_plain_recomputation(engine: Engine) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    sent: list[Fields] = []
    for number in range(6000):
        at = APPENDED - timedelta(seconds=chance.randrange(86_400), days=int(chance.random() < 0.05))
        sent.append(
            {
                "id": f"e-{number}",
                "time": at.isoformat(),
                "data": rating(
                    customer_id=f"C{number % 700}",
                    region=f"R{chance.randrange(5)}",
                    kind=chance.choice(["survey", "sms_rating"]),
                    channel=chance.choice(["hotline", "web"]),
                    **({"score": chance.randrange(1, 11)} if chance.random() < 0.8 else {"score": None, "satisfied": False}),
                ),
            }
        )
    stream = sent + chance.sample(sent, 600)
    chance.shuffle(stream)
    offsets: Counter[int] = Counter()
    arriving: list[ConsumerRecord] = []
    for item in stream:
        data = {k: v for k, v in item["data"].items() if v is not None}
        partition = partition_of(data["customer_id"].encode(), 6)
        value = encoded(envelope(data, id=item["id"], time=item["time"]))
        arriving.append(record(value, partition=partition, offset=offsets[partition]))
        offsets[partition] += 1
    while arriving:
        size = chance.choice([1, 10, 500])
        await engine.take(batch(arriving[:size]), rolls_back=chance.random() < 0.1 and size > 1)
        taken = batch(arriving[:size])
        if chance.random() < 0.05:
            engine.processor.reset()
        await engine.take(taken)  # what held already comes again
        arriving = arriving[size:]

    expected: dict[tuple[str, str], list[int]] = {}
    for item in sent:
        data = item["data"]
        sums = expected.setdefault((data["region"], data["channel"]), [0, 0, 0])
        is_bad = (data["score"] - 1) / 9 < 0.5 if data["score"] is not None else not data["satisfied"]
        sums[0] += is_bad
        sums[1] += 1
        sums[2] += 1
    assert await engine.total(COUNT, ("region", "channel")) == {group: tuple(sums) for group, sums in expected.items()}


def test_an_import_of_old_events_does_not_look_like_a_bad_deployment() -> None:
    """What is late is rejected by `apply`: only what `decode` refuses counts for the brake."""
    processor = KpiProcessor(SHIPPED, Counting(SHIPPED, 1 << 20, 0.5), timedelta(days=400))
    old = [event(n, APPENDED - timedelta(days=4000)) for n in range(200)]
    decoded = processor.decode(batch(records([*old, b"poison"])))
    assert [rejection.record.offset for rejection in decoded.rejections] == [200]
    assert len(decoded.payload.late) == 200
