"""The local broker keeps its data over stop, kill and restart, and refuses a damaged folder with a sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from closedloop.local import jars
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.problems import LocalStackError


@pytest.fixture
def broker(server_folder: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(server_folder / "kafka", free_port())
    server.start()
    yield server
    server.kill()


async def _create(server: KafkaServer, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()


async def _say(server: KafkaServer, topic: str, words: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    for word in words:
        await producer.send_and_wait(topic, word.encode())
    await producer.stop()


async def _heard(server: KafkaServer, topic: str, count: int) -> set[str]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    words = {(await consumer.getone()).value.decode() for _ in range(count)}
    await consumer.stop()
    return words


async def test_acknowledged_events_survive_a_kill_a_stop_and_a_new_object(broker: KafkaServer) -> None:
    await _create(broker, "events")
    await _say(broker, "events", ["before"])
    broker.kill()
    assert not broker.running
    broker.start()
    await _say(broker, "events", ["after a kill"])
    assert broker.stop()
    again = KafkaServer(broker.folder, broker.port)
    again.start()
    try:
        assert await _heard(again, "events", 2) == {"before", "after a kill"}
    finally:
        again.kill()


async def test_a_frozen_broker_answers_again_once_it_is_thawed_and_can_be_stopped_frozen(broker: KafkaServer) -> None:
    await _create(broker, "events")
    broker.pause()
    broker.resume()
    await _say(broker, "events", ["x"])
    broker.pause()
    assert broker.stop()


def test_a_damaged_folder_is_named_with_the_way_out(server_folder: Path) -> None:
    server = KafkaServer(server_folder / "kafka", free_port())
    (server_folder / "kafka" / "data").mkdir(parents=True)
    (server_folder / "kafka" / "data" / "meta.properties").write_bytes(b"\xff\x00")
    with pytest.raises(LocalStackError, match=r"meta\.properties is missing or damaged.*mv .*/kafka"):
        server.start()


def test_a_broker_that_cannot_start_says_why_and_where_its_log_is(server_folder: Path) -> None:
    server = KafkaServer(server_folder / "kafka", free_port(), overrides={"num.partitions": "none"})
    with pytest.raises(LocalStackError, match=r"num\.partitions"):
        server.start()


def test_a_jar_with_another_hash_is_refused(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jars.pinned()[0]
    forged = jars.Jar(first.group, first.artifact, first.version, "0" * 64, first.size)
    monkeypatch.setattr(jars, "pinned", lambda: [forged])
    with pytest.raises(LocalStackError, match="is not the file that"):
        jars.provide(server_folder)
    assert not list(server_folder.rglob("*.jar"))


def test_without_a_network_the_first_start_says_so(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(LocalStackError, match="needs the network"):
        jars.provide(server_folder)
