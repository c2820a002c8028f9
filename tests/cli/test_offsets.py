"""`closedloop offsets`: positions in real PostgreSQL against real Kafka, told and moved."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition

from cli.commandline import Cli, Ran
from closedloop.cli.offsets.positions import Fit, Move, Present, Stored, fit, lag, target
from closedloop.common.consumer.failures import PositionRefused
from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL, restore
from closedloop.common.events.topics import COMPLAINTS, INDICATORS
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.kafka.source import KafkaSource
from closedloop.local.kafka import KafkaServer

HELD = [TopicPartition(topic.name, partition) for topic in (COMPLAINTS, INDICATORS) for partition in range(topic.partitions)]

ONE = ("--topic", "complaints", "--partition", "0")


class Ticketing:
    """The ticketing service's positions, with and without the service running."""

    def __init__(self, cli: Cli, kafka: KafkaSettings, url: str) -> None:
        self._cli, self.kafka, self.url = cli, kafka, url

    def cli(self, *arguments: object) -> Ran:
        return self._cli(*arguments, KAFKA_BOOTSTRAP=self.kafka.bootstrap, TICKETING_DATABASE_URL=self.url)

    def execute(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url)
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(run())

    @asynccontextmanager
    async def running(self, member: str | None = None) -> AsyncIterator[KafkaSource]:
        """A member of the service's consumer group; with a fixed id, such as a pod's, if given."""
        topics = [COMPLAINTS.name, INDICATORS.name]
        source = KafkaSource(self.kafka, "closedloop-ticketing", topics, member=member, session_timeout_ms=3000)
        await source.start()
        try:
            async with asyncio.timeout(30):
                while not source.assigned():
                    await source.poll(1, 100)
            yield source
        finally:
            await source.stop()

    def start(self) -> dict[TopicPartition, int]:
        """The positions that the service would read from, were it started now. Raises PositionRefused."""

        async def run() -> dict[TopicPartition, int]:
            async with self.running() as source:
                connection = await asyncpg.connect(self.url)
                try:
                    return await restore(connection, source, HELD)
                finally:
                    await connection.close()

        return asyncio.run(run())

    def publish(self, count: int) -> None:
        async def run() -> None:
            sink = KafkaSink(self.kafka, "test")
            await sink.publish([Message(COMPLAINTS.name, b"k", b"v", partition=0) for _ in range(count)])
            await sink.stop()

        asyncio.run(run())


@pytest.fixture
def ticketing(cli: Cli, empty_kafka: KafkaServer, database_url: str) -> Iterator[Ticketing]:
    kafka = KafkaSettings(bootstrap=empty_kafka.bootstrap)
    asyncio.run(ensure_topics(kafka, (COMPLAINTS, INDICATORS)))
    service = Ticketing(cli, kafka, database_url)
    service.execute(CONSUMER_OFFSET_DDL)
    service.publish(10)
    yield service


def end_of(ticketing: Ticketing) -> int:
    shown = ticketing.cli("offsets", "show", "ticketing").out
    [line] = [line for line in shown.splitlines() if line.strip().startswith("complaints/0")]
    return int(line.split(" to ")[1].split()[0])


def test_positions_are_shown_with_what_is_unread(ticketing: Ticketing) -> None:
    assert "not read yet" in ticketing.cli("offsets", "show", "ticketing").out
    ticketing.start()
    end = end_of(ticketing)
    ticketing.execute("UPDATE consumer_offset SET next_offset = $1 WHERE topic = 'complaints' AND partition = 0", end - 4)
    ran = ticketing.cli("offsets", "show")
    assert ran.code == 0, ran.err
    assert "ticketing: not running" in ran.out
    [line] = [line for line in ran.out.splitlines() if line.strip().startswith("complaints/0")]
    assert line.split() == ["complaints/0", str(end - 4), "0", "to", str(end), "4", "fits"]
    assert ran.out.count("fits") == len(HELD)


def test_a_position_that_does_not_fit_is_told_and_reset_makes_the_service_start_again(ticketing: Ticketing) -> None:
    ticketing.start()
    ticketing.execute("UPDATE consumer_offset SET cluster_id = 'before-the-fire'")
    with pytest.raises(PositionRefused, match="belongs to another Kafka cluster"):
        ticketing.start()
    shown = ticketing.cli("offsets", "show", "ticketing")
    assert shown.code == 1
    assert shown.out.count("belongs to another Kafka cluster") == len(HELD)
    assert "closedloop offsets reset ticketing --to earliest" in shown.out

    ran = ticketing.cli("offsets", "reset", "ticketing", "--to", "earliest", "--yes")
    assert (ran.code, f"Set {len(HELD)} positions; start ticketing now." in ran.out) == (0, True), ran.err
    assert set(ticketing.start().values()) == {0}


def test_adopt_keeps_the_offset_and_takes_over_the_cluster_and_topic(ticketing: Ticketing) -> None:
    ticketing.start()
    ticketing.execute("UPDATE consumer_offset SET topic_id = 'old', next_offset = 3 WHERE topic = 'complaints' AND partition = 0")
    assert "the topic was deleted and made again" in ticketing.cli("offsets", "show", "ticketing").out
    assert ticketing.cli("offsets", "reset", "ticketing", "--topic", "complaints", "--to", "adopt", "--yes").code == 0
    assert ticketing.start()[TopicPartition("complaints", 0)] == 3


def test_skipping_says_what_is_lost_and_asks(ticketing: Ticketing, monkeypatch: pytest.MonkeyPatch) -> None:
    ticketing.start()
    ticketing.execute("UPDATE consumer_offset SET next_offset = 2 WHERE topic = 'complaints' AND partition = 0")
    end = end_of(ticketing)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ran = ticketing.cli("offsets", "reset", "ticketing", *ONE, "--to", "latest")
    assert ran.code == 1
    assert f"complaints/0: 2 → {end}; {end - 2} records are never read" in ran.out
    assert ticketing.start()[TopicPartition("complaints", 0)] == 2
    ran = ticketing.cli("offsets", "reset", "ticketing", *ONE, "--to", 1, "--yes")
    assert "complaints/0: 2 → 1; 1 records are read again" in ran.out
    assert ticketing.start()[TopicPartition("complaints", 0)] == 1


def test_a_running_service_is_not_reset(ticketing: Ticketing) -> None:
    async def while_running() -> Ran:
        async with ticketing.running():
            return await asyncio.to_thread(ticketing.cli, "offsets", "reset", "ticketing", "--to", "latest", "--yes", "--wait", 0)

    ran = asyncio.run(while_running())
    assert ran.code == 1
    assert ran.err.startswith("ticketing runs (1 in its consumer group): stop it first.")
    assert ticketing.execute("SELECT * FROM consumer_offset") == []


def test_a_service_that_was_just_stopped_is_waited_for_until_kafka_forgets_its_member(ticketing: Ticketing) -> None:
    async def stop() -> None:
        async with ticketing.running(member="pod-1"):
            pass

    asyncio.run(stop())
    ran = ticketing.cli("offsets", "reset", "ticketing", "--to", "earliest", "--yes")
    assert "one that was stopped counts for up to 45 s: waiting" in ran.err
    assert ran.code == 0
    assert len(ticketing.execute("SELECT * FROM consumer_offset")) == len(HELD)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ticketing", "--to", "7"), "An offset belongs to one partition: name it with --topic and --partition."),
        (("ticketing", "--to", "99999", *ONE), "complaints/0: 99999 is outside of what Kafka keeps"),
        (("ticketing", "--to", "start"), "complaints/0: 'start' is neither earliest, latest, adopt nor an offset."),
        (("ticketing", "--to", "adopt"), "complaints/0: there is no position to adopt."),
        (("ticketing", "--to", "latest", "--topic", "orders"), "ticketing does not read 'orders'; it reads complaints,"),
        (("ticketing", "--to", "latest", "--partition", "77"), "Kafka has no such partition"),
        (("billing", "--to", "latest"), "'billing' is not a service that reads topics; it is one of"),
        (("kpi", "--to", "latest"), "KPI_DATABASE_URL is not set: it names the database"),
    ],
)  # fmt: skip
def test_what_cannot_be_reset_is_a_sentence(ticketing: Ticketing, arguments: tuple[str, ...], sentence: str) -> None:
    ran = ticketing.cli("offsets", "reset", *arguments, "--yes")
    assert ran.code == 1
    assert ran.err.startswith(sentence)
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://x:y@127.0.0.1:9/z", "No PostgreSQL answers at 127.0.0.1:9; start it, or correct TICKETING_DATABASE_URL."),
        ("nonsense", "PostgreSQL does not let us in with TICKETING_DATABASE_URL: it is not a postgresql:// address."),
    ],
)
def test_no_database_is_a_sentence(cli: Cli, empty_kafka: KafkaServer, url: str, sentence: str) -> None:
    ran = cli("offsets", "show", "ticketing", KAFKA_BOOTSTRAP=empty_kafka.bootstrap, TICKETING_DATABASE_URL=url)
    assert (ran.code, ran.err) == (1, sentence + "\n")


def test_the_url_may_stand_in_a_file_as_kubernetes_mounts_it(ticketing: Ticketing, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "TICKETING_DATABASE_URL").write_text(ticketing.url + "\n")
    ran = cli("offsets", "show", KAFKA_BOOTSTRAP=ticketing.kafka.bootstrap, SECRETS_DIR=str(tmp_path))
    assert ran.code == 0, ran.err
    assert "ticketing: not running" in ran.out


def test_a_database_that_was_never_migrated_is_a_sentence(cli: Cli, empty_kafka: KafkaServer, database_url: str) -> None:
    ran = cli("offsets", "show", "ticketing", KAFKA_BOOTSTRAP=empty_kafka.bootstrap, TICKETING_DATABASE_URL=database_url)
    assert "it was never migrated (python -m closedloop.ticketing migrate)" in ran.err


PRESENT = Present(10, 20, "c", "t")


@pytest.mark.parametrize(
    ("stored", "expected", "unread"),
    [
        (None, Fit.NEW, 10),
        (Stored("x", 0, 10, "c", "t"), Fit.FITS, 10),
        (Stored("x", 0, 20, "c", "t"), Fit.FITS, 0),
        (Stored("x", 0, 9, "c", "t"), Fit.LOST, None),
        (Stored("x", 0, 21, "c", "t"), Fit.AHEAD, None),
        (Stored("x", 0, 15, "other", "t"), Fit.OTHER_CLUSTER, None),
        (Stored("x", 0, 15, "c", "other"), Fit.OTHER_TOPIC, None),
    ],
)
def test_how_a_position_fits(stored: Stored | None, expected: Fit, unread: int | None) -> None:
    assert (fit(stored, PRESENT), lag(stored, PRESENT)) == (expected, unread)


def test_a_topic_that_is_gone_is_told() -> None:
    assert fit(Stored("x", 0, 1, "c", "t"), None) is Fit.NO_TOPIC


@pytest.mark.parametrize(
    ("stored", "to", "skipped", "again"),
    [
        (Stored("x", 0, 15, "c", "t"), "latest", 5, 0),
        (Stored("x", 0, 15, "c", "t"), "earliest", 0, 5),
        (Stored("x", 0, 5, "c", "t"), "earliest", 0, 0),
        (Stored("x", 0, 5, "c", "t"), "latest", 10, 0),
        (Stored("x", 0, 19, "other", "t"), "latest", 10, 0),
        (None, "latest", 10, 0),
        (None, "earliest", 0, 0),
    ],
)
def test_what_a_move_skips_and_reads_again(stored: Stored | None, to: str, skipped: int, again: int) -> None:
    move = Move("x", 0, stored, target(to, stored, PRESENT), PRESENT)
    assert (move.skipped, move.read_again) == (skipped, again)
