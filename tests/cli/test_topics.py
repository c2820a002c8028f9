"""`closedloop topics`: what is declared and what Kafka has."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cli.commandline import Cli
from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.local.kafka import KafkaServer

ALL = [topic.name for topic in (*TOPICS, *dead_letter_topics())]


def test_missing_topics_are_told_and_made_and_others_are_left_as_they_are(cli: Cli, empty_kafka: KafkaServer) -> None:
    async def make_one_otherwise() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=empty_kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("orders", 2, 1)])
        await admin.close()

    asyncio.run(make_one_otherwise())
    ran = cli("topics", KAFKA_BOOTSTRAP=empty_kafka.bootstrap)
    assert ran.code == 1
    assert ran.out.count("missing") >= len(ALL) - 1
    assert "`closedloop topics --create`" in ran.out

    ran = cli("topics", "--create", KAFKA_BOOTSTRAP=empty_kafka.bootstrap)
    assert ran.code == 1, "one still differs"
    assert [line.removeprefix("created ") for line in ran.out.splitlines() if line.startswith("created ")] == [
        name for name in ALL if name != "orders"
    ]
    [orders] = [line for line in ran.out.splitlines() if line.split()[:1] == ["orders"]]
    assert "partitions is 2, declared 6" in orders
    assert "message.timestamp.type is CreateTime, declared LogAppendTime" in orders
    assert ran.out.count("as declared") == len(ALL) - 1


async def replicas_of(bootstrap: str, topic: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    [described] = await admin.describe_topics([topic])
    await admin.close()
    return len(described["partitions"][0]["replicas"])


def test_the_cluster_says_how_many_copies_a_topic_has_unless_it_is_told(
    cli: Cli, empty_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: tuple[dict[str, str], ...] = ({}, {"KAFKA_TOPIC_REPLICATION_FACTOR": "-1"})
    for asked in settings:
        cli("topics", "--create", KAFKA_BOOTSTRAP=empty_kafka.bootstrap, **asked)
        assert asyncio.run(replicas_of(empty_kafka.bootstrap, "evaluations")) == 1, "the local stack's default"
        asyncio.run(delete(empty_kafka.bootstrap, "evaluations"))
    told = cli("topics", "--create", "--replication-factor", 3, KAFKA_BOOTSTRAP=empty_kafka.bootstrap)
    assert told.code == 1
    assert "the topic evaluations was not created: " in told.err
    assert "eplication factor" in told.err
    monkeypatch.delenv("KAFKA_TOPIC_REPLICATION_FACTOR")
    assert "created evaluations" in cli("topics", "--create", KAFKA_BOOTSTRAP=empty_kafka.bootstrap).out


async def delete(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    while topic in await admin.list_topics():
        await asyncio.sleep(0.05)
    await admin.close()


def test_no_kafka_is_a_sentence(cli: Cli) -> None:
    for command in (("topics",), ("dlq", "list"), ("dlq", "show", "x-dlq")):
        ran = cli(*command, KAFKA_BOOTSTRAP="127.0.0.1:9")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "No Kafka answers at 127.0.0.1:9; start it (make run), or name it with KAFKA_BOOTSTRAP or --env-file.\n"


def test_a_wrong_setting_for_kafka_is_named(cli: Cli) -> None:
    ran = cli("topics", KAFKA_SECURITY_PROTOCOL="SASL")
    assert ran.code == 1
    assert "KAFKA_SECURITY_PROTOCOL: " in ran.err
    assert "Traceback" not in ran.err
