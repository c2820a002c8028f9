"""The consumer loop on real Kafka and PostgreSQL: every record has its effect once, or stands once in the dead letters."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord
from confluent_kafka import Producer

from closedloop.common.consumer import dead_letters
from closedloop.common.consumer.batch import Batch
from closedloop.common.consumer.brake import Brake
from closedloop.common.consumer.dead_letters import DeadLetters
from closedloop.common.consumer.failures import PositionRefused, Rejection, Stage
from closedloop.common.consumer.processor import Decoded
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.kafka.source import KafkaSource, Record
from closedloop.common.postgres.pool import Connection
from common.consumer_bench import DEADLINE_S, SERVICE, Bench, Counting, made, read_all, until


@pytest.fixture
async def bench(kafka_bootstrap: str, database_url: str, unique_name: str) -> AsyncIterator[Bench]:
    async with made(kafka_bootstrap, database_url, unique_name) as bench:
        yield bench


async def test_every_record_has_its_effect_once_and_poison_stands_once_in_the_dead_letters(bench: Bench) -> None:
    values = [str(i) for i in range(500)]
    await bench.send(*values[:250], "poison-1", *values[250:], "poison-2")
    async with bench.loop():
        await read_all(bench, 502)
    assert await bench.effects() == list(range(500))
    letters = await bench.dead_letters()
    assert sorted(r.value for r in letters) == [b"poison-1", b"poison-2"]
    headers = dict(letters[0].headers)
    assert headers["x-error-topic"] == bench.topic.encode()
    assert headers["x-error-stage"] == b"decode"
    assert headers["x-error-message"] == b"is poison"
    assert letters[0].partition == int(headers["x-error-partition"])


async def test_a_new_process_goes_on_where_the_last_one_committed(bench: Bench) -> None:
    await bench.send("1", "2", "3")
    async with bench.loop():
        await read_all(bench, 3)
    await bench.send("4", "5")
    async with bench.loop():
        await read_all(bench, 5)
    assert await bench.effects() == [1, 2, 3, 4, 5]


async def test_a_record_that_the_database_refuses_or_that_meets_a_bug_is_isolated_and_the_others_pass(bench: Bench) -> None:
    await bench.send(*[str(i) for i in range(40)], "not-a-number", "bug-1", *[str(i) for i in range(40, 80)])
    async with bench.loop():
        await read_all(bench, 82)
    assert await bench.effects() == list(range(80))
    by_value = {r.value: dict(r.headers) for r in await bench.dead_letters()}
    assert by_value.keys() == {b"not-a-number", b"bug-1"}
    assert by_value[b"not-a-number"]["x-error-stage"] == b"data"
    assert by_value[b"bug-1"]["x-error-stage"] == b"bug"
    assert by_value[b"bug-1"]["x-error-attempts"] == b"3"
    assert b"defect" not in by_value[b"bug-1"]["x-error-message"]


async def test_a_position_moved_by_another_member_makes_the_batch_void(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
        # what a stalled process finds when it wakes: the others have read on
        await bench.pool.execute("UPDATE consumer_offset SET next_offset = next_offset + 1 WHERE next_offset > 0")
        part = await bench.pool.fetchval("SELECT partition FROM consumer_offset WHERE next_offset > 0")
        await bench.sink.publish([Message(bench.topic, b"k", str(v).encode(), partition=part) for v in (2, 3)])
        await read_all(bench, 3)
    assert await bench.effects() == [1, 3]


class AcknowledgedThenFails(DeadLetters):
    """Kafka has the dead letters, but the transaction does not get to its end, once."""

    failures = 1

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        await super().publish(rejections)
        if rejections and self.failures:
            self.failures -= 1
            raise ConnectionResetError


async def test_dead_letters_are_not_written_again_when_their_batch_comes_again(bench: Bench) -> None:
    await bench.send("1", "poison", "2")
    async with bench.loop(AcknowledgedThenFails(bench.kafka, bench.sink, SERVICE)):
        await read_all(bench, 3)
    assert await bench.effects() == [1, 2]
    assert len(await bench.dead_letters()) == 1


class AcknowledgedThenDies(DeadLetters):
    """Kafka has the dead letters and the process ends there."""

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        await super().publish(rejections)
        if rejections:
            raise asyncio.CancelledError


async def test_dead_letters_are_not_written_again_by_the_next_process(bench: Bench) -> None:
    await bench.send("poison-a", "poison-b", "7")
    async with bench.loop(AcknowledgedThenDies(bench.kafka, bench.sink, SERVICE)) as (_, task):
        await asyncio.wait([task], timeout=DEADLINE_S)
    assert await bench.positions() < 3
    async with bench.loop():
        await read_all(bench, 3)
    assert sorted(r.value for r in await bench.dead_letters()) == [b"poison-a", b"poison-b"]


async def test_a_hundred_rejections_in_a_row_pause_the_consumer_until_an_operator_resumes(bench: Bench) -> None:
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(100)])
    async with bench.loop() as (loop, _):

        async def paused() -> bool:
            return loop.braked is not None

        await until(paused)
        assert "in a row" in (loop.not_ready() or "")
        assert await bench.dead_letters() == []
        assert await bench.positions() == 0
        loop.resume()
        await read_all(bench, 100)
    assert len(await bench.dead_letters()) == 100


async def test_other_servers_and_a_topic_made_anew_are_refused_with_a_way_out(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
    for column, words in (("cluster_id", "another Kafka cluster"), ("topic_id", "deleted and made again")):
        before = await bench.pool.fetchval(f"SELECT {column} FROM consumer_offset LIMIT 1")
        await bench.pool.execute(f"UPDATE consumer_offset SET {column} = 'other'")
        async with bench.loop() as (_, task):
            with pytest.raises(PositionRefused, match=f"{words}.*offsets reset"):
                await asyncio.wait_for(task, DEADLINE_S)
        await bench.pool.execute(f"UPDATE consumer_offset SET {column} = $1", before)
    await bench.pool.execute("UPDATE consumer_offset SET next_offset = 1000")
    async with bench.loop() as (_, task):
        with pytest.raises(PositionRefused, match="outside of what Kafka keeps"):
            await asyncio.wait_for(task, DEADLINE_S)


async def test_a_member_that_reads_on_while_another_takes_over_is_no_lost_topic(bench: Bench) -> None:
    """As a process that was frozen past its session finds it: it asks how far the topic goes, and its successor is further then."""

    class WhileAnotherReadsOn(KafkaSource):
        has_read_on = False

        async def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
            ends = await super().ends(partitions)
            if not self.has_read_on:
                self.has_read_on = True
                await bench.sink.publish([Message(bench.topic, b"k", b"2", partition=0)])
                await bench.pool.execute("UPDATE consumer_offset SET next_offset = next_offset + 1 WHERE partition = 0")
            return ends

    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
    async with bench.loop(make_source=WhileAnotherReadsOn) as (_, task):
        await read_all(bench, 2)
        await bench.sink.publish([Message(bench.topic, b"k", b"3", partition=0)])
        await read_all(bench, 3)
        assert not task.done()
    assert await bench.effects() == [1, 3]


async def test_an_outage_of_the_database_is_waited_out_and_never_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop():
        await read_all(bench, 1)
        # 57P01 is what a restart of the server says to every session
        await bench.pool.execute("ALTER TABLE effect RENAME TO effect_away")
        await bench.pool.execute(
            "CREATE FUNCTION shut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '57P01'; END $$"
        )
        await bench.pool.execute("CREATE TABLE effect (value integer NOT NULL)")
        await bench.pool.execute("CREATE TRIGGER shut BEFORE INSERT ON effect EXECUTE FUNCTION shut()")
        await bench.send("2", "3")
        await asyncio.sleep(1.5)
        assert await bench.positions() == 1
        await bench.pool.execute("DROP TRIGGER shut ON effect")
        await read_all(bench, 3)
    assert await bench.effects() == [2, 3]
    assert await bench.dead_letters() == []


async def test_two_members_share_the_partitions_and_take_over_without_a_miscount(bench: Bench) -> None:
    async with bench.loop() as (first, _):
        await bench.send(*[str(i) for i in range(300)])
        await read_all(bench, 300)
        async with bench.loop() as (second, _):

            async def both_work() -> bool:
                return all(loop.not_ready() is None and loop.idle_because() is None for loop in (first, second))

            await until(both_work)
            await bench.send(*[str(i) for i in range(300, 900)])
            await read_all(bench, 900)
        await bench.send(*[str(i) for i in range(900, 1000)])
        await read_all(bench, 1000)
    assert await bench.effects() == list(range(1000))


async def test_a_deployment_that_fails_on_every_record_pauses_before_it_drains_the_topic(bench: Bench) -> None:
    await bench.sink.publish([Message(bench.topic, b"k", b"bug-%d" % i, partition=0) for i in range(5)])
    async with bench.loop(brake=Brake(in_a_row=3)) as (loop, _):

        async def paused() -> bool:
            return loop.braked is not None

        await until(paused)
        assert len(await bench.dead_letters()) == 2


class InTransaction(Counting):
    """Finds out only in the transaction that it cannot take the records."""

    def __init__(self, topic: str, stage: Stage) -> None:
        super().__init__(topic)
        self._stage = stage

    async def apply(self, connection: Connection, payload: Sequence[Record]) -> Sequence[Rejection]:
        return [Rejection(r, self._stage, "time", "cannot be taken") for r in payload]


async def test_rejections_found_in_the_transaction_pause_the_consumer_as_well(bench: Bench) -> None:
    await bench.send(*[str(i) for i in range(150)])
    async with bench.loop(processor=InTransaction(bench.topic, "data")) as (loop, _):

        async def paused() -> bool:
            return loop.braked is not None

        await until(paused)
        assert len(await bench.dead_letters()) < 100
        loop.resume()
        await read_all(bench, 150)
    assert len(await bench.dead_letters()) == 150


async def test_an_import_of_events_older_than_what_is_kept_pauses_nobody(bench: Bench) -> None:
    await bench.send(*[str(i) for i in range(150)])
    async with bench.loop(processor=InTransaction(bench.topic, "late")):
        await read_all(bench, 150)
    assert len(await bench.dead_letters()) == 150


class FailsThrice(DeadLetters):
    """Kafka is away for three attempts."""

    failures = 3

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        if rejections and self.failures:
            self.failures -= 1
            raise ConnectionResetError
        await super().publish(rejections)


async def test_trying_again_in_an_outage_is_no_further_rejection(bench: Bench) -> None:
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(60)])
    async with bench.loop(FailsThrice(bench.kafka, bench.sink, SERVICE)) as (loop, _):
        await read_all(bench, 60)
        assert loop.braked is None
    assert len(await bench.dead_letters()) == 60


class CannotRead(Counting):
    """Has a defect in its reading of some records."""

    def decode(self, batch: Batch) -> Decoded[Sequence[Record]]:
        if any(r.value == b"13" for r in batch.records()):
            raise OverflowError
        return super().decode(batch)


async def test_a_record_that_the_code_cannot_even_read_is_isolated(bench: Bench) -> None:
    await bench.send(*[str(i) for i in range(30)])
    async with bench.loop(processor=CannotRead(bench.topic)):
        await read_all(bench, 30)
    assert await bench.effects() == [i for i in range(30) if i != 13]
    [letter] = await bench.dead_letters()
    assert dict(letter.headers)["x-error-stage"] == b"bug"


class RejectsAll(Counting):
    def decode(self, batch: Batch) -> Decoded[Sequence[Record]]:
        return Decoded([], [Rejection(r, "decode", "json", "is poison") for r in batch.records()])


async def test_a_record_of_nothing_at_all_does_not_block(bench: Bench) -> None:
    producer = Producer({"bootstrap.servers": bench.kafka.bootstrap})
    producer.produce(bench.topic, None, None, partition=0, headers=[("x", None)])
    assert producer.flush(10) == 0
    async with bench.loop(processor=RejectsAll(bench.topic)):
        await read_all(bench, 1)
    [letter] = await bench.dead_letters()
    assert (letter.key, letter.value, letter.headers[0]) == (None, b"", ("x", None))


class HalfWritten(DeadLetters):
    """One dead letter arrives, then the connection breaks, once."""

    failures = 1

    async def publish(self, rejections: Sequence[Rejection]) -> None:
        if len(rejections) > 1 and self.failures:
            self.failures -= 1
            whole, self._sink = self._sink, Breaking(self._kafka, "breaking")
            try:
                await super().publish(rejections)
            finally:
                await self._sink.stop()
                self._sink = whole
        else:
            await super().publish(rejections)


class Breaking(KafkaSink):
    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(messages[:1])
        raise KafkaConnectionError


async def test_dead_letters_that_were_half_written_are_not_written_twice(bench: Bench) -> None:
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(5)])
    async with bench.loop(HalfWritten(bench.kafka, bench.sink, SERVICE)):
        await read_all(bench, 5)
    assert sorted(r.value for r in await bench.dead_letters()) == [b"poison-%d" % i for i in range(5)]


async def test_dead_letters_of_a_batch_are_not_written_twice_however_many_they_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "TAIL", 3)
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-%d" % i, partition=0) for i in range(4)])
    async with bench.loop():
        await read_all(bench, 4)
    # eight more are written by a member that dies before its transaction is committed
    more = [ConsumerRecord(bench.topic, 0, i, 0, 1, b"k", b"poison-%d" % i, None, 1, 1, ()) for i in range(4, 12)]
    await DeadLetters(bench.kafka, bench.sink, SERVICE).publish([Rejection(r, "decode", "json", "is poison") for r in more])
    await bench.sink.publish([Message(bench.topic, b"k", r.value, partition=0) for r in more])
    async with bench.loop():
        await read_all(bench, 12)
    assert [r.value for r in await bench.dead_letters()] == [b"poison-%d" % i for i in range(12)]


async def test_what_stood_at_the_same_offset_of_a_topic_since_deleted_hides_no_dead_letter(bench: Bench) -> None:
    """As after `offsets reset` on a topic that was made again: its dead letters are kept for ever."""
    old = ConsumerRecord(bench.topic, 0, 0, 0, 1, b"k", b"poison-old", None, 1, 1, ())
    await DeadLetters(bench.kafka, bench.sink, SERVICE).publish([Rejection(old, "decode", "json", "is poison")])
    await bench.sink.publish([Message(bench.topic, b"k", b"poison-new", partition=0)])
    async with bench.loop():
        await read_all(bench, 1)
    assert [r.value for r in await bench.dead_letters()] == [b"poison-old", b"poison-new"]


async def test_a_member_survives_that_its_partitions_go_to_others(bench: Bench) -> None:
    await bench.send("1")
    async with bench.loop() as (first, task):
        await read_all(bench, 1)
        async with bench.loop() as (second, _), bench.loop() as (third, _), bench.loop() as (fourth, _):

            async def all_work() -> bool:
                # the one that gets no partition has nothing to do, and is ready all the same
                return all(loop.not_ready() is None and loop.idle_because() is None for loop in (first, second, third, fourth))

            await until(all_work)
            await bench.send(*[str(i) for i in range(2, 50)])
            await read_all(bench, 49)
        assert not task.done()
