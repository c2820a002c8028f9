"""What happens when Kafka is away or too much comes at once: never a 2xx for what is not stored, never without bound."""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from closedloop.common.kafka.client import KafkaSettings
from closedloop.ingest.domain.acceptance import Records
from closedloop.ingest.group_commit import GroupCommit, NotAcknowledged
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from ingest.door import BATCH, NDJSON, STRUCTURED, Door, example, opened, until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), free_port())
    yield server
    server.resume()
    server.stop()


@pytest.fixture
def broker(_broker: KafkaServer) -> KafkaServer:
    """A broker of these tests' own, to kill and to freeze; it runs when a test begins."""
    if _broker.running:
        _broker.resume()
    else:
        _broker.start()
    return _broker


async def ready(door: Door) -> bool:
    return (await door.client.get("/readyz")).status_code == 200


async def test_while_kafka_is_frozen_the_answer_is_503_and_then_all_goes_on(broker: KafkaServer, tmp_path: Path) -> None:
    async with opened(broker.bootstrap, tmp_path, ack_timeout_s=1.5, retry_after_s=3) as door:
        broker.pause()
        waiting = await asyncio.gather(*(door.post("/v1/events", example(id=f"w{n}"), STRUCTURED) for n in range(5)))
        for answer in waiting:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
            assert "send the same request again" in answer.json()["detail"]
        assert not await ready(door)
        broker.resume()
        await until(lambda: ready(door), "ingest is ready again")
        assert (await door.post("/v1/events", example(id="after"), STRUCTURED)).status_code == 202
        assert "after" in {event["id"] for event in await door.stored_events("evaluations")}


async def test_what_was_acknowledged_is_stored_when_the_broker_is_killed_under_load(broker: KafkaServer, tmp_path: Path) -> None:
    async with opened(broker.bootstrap, tmp_path, ack_timeout_s=1.5) as door:
        acknowledged: set[str] = set()
        attempted: set[str] = set()
        refused = 0
        ending = False

        async def send(client: int) -> None:
            nonlocal refused
            n = 0
            while not ending:
                ids = [f"{client}-{n}-{k}" for k in range(20)]
                n += 1
                attempted.update(ids)
                answer = await door.post("/v1/events", [example(id=i, data={"customer_id": i}) for i in ids], BATCH)
                if answer.status_code == 202:
                    acknowledged.update(ids)
                else:
                    assert answer.status_code == 503, answer.text
                    refused += 1
                    await asyncio.sleep(0.05)

        senders = [asyncio.create_task(send(client)) for client in range(8)]

        async def some_more_than(count: int) -> bool:
            return len(acknowledged) > count

        await until(lambda: some_more_than(500), "events are acknowledged")
        broker.kill()

        async def refusing() -> bool:
            return refused > 0

        await until(refusing, "requests are refused")
        before = len(acknowledged)
        await asyncio.to_thread(broker.start)
        await until(lambda: some_more_than(before + 500), "events are acknowledged again", 30)
        ending = True
        await asyncio.gather(*senders)
        stored = {event["id"] for event in await door.stored_events("evaluations")}
        assert acknowledged <= stored <= attempted


async def test_ingest_waits_for_a_kafka_that_is_not_there_yet(broker: KafkaServer, tmp_path: Path) -> None:
    async with opened(broker.bootstrap, tmp_path, ack_timeout_s=1.0) as door:
        broker.stop()

        async def refuses() -> bool:
            answer = await door.post("/v1/events", example(), STRUCTURED)
            return answer.status_code == 503 and "retry-after" in answer.headers

        await until(refuses, "503 while Kafka is away")
        health = await door.client.get("/readyz")
        assert (health.status_code, list(health.json()["problems"])) == (503, ["kafka"])
        assert (await door.client.get("/livez")).status_code == 200
        await asyncio.to_thread(broker.start)
        await until(lambda: ready(door), "ready when Kafka is there")
        assert (await door.post("/v1/events", example(), STRUCTURED)).status_code == 202


async def test_a_missing_topic_is_named_as_the_reason(broker: KafkaServer) -> None:
    kafka = KafkaSettings(bootstrap=broker.bootstrap)
    commit = GroupCommit(kafka, ["not-there"], ack_timeout_s=1.0, max_unacknowledged=10, compression="none")
    running = asyncio.create_task(commit.run())

    async def told() -> bool:
        return "the topic not-there is missing" in (await commit.not_ready() or "")

    try:
        await until(told, "the reason is told")
        with pytest.raises(NotAcknowledged):
            await commit.commit({"not-there": Records([b"k"], [b"v"])})
    finally:
        commit.stop()
        await running


async def test_more_unacknowledged_events_than_allowed_are_refused_unwritten(broker: KafkaServer, tmp_path: Path) -> None:
    async with opened(broker.bootstrap, tmp_path, max_unacknowledged_events=100, max_batch_events=100, ack_timeout_s=10) as door:
        broker.pause()
        first = asyncio.create_task(door.post("/v1/events", [example(id=f"a{n}") for n in range(90)], BATCH))

        async def held() -> bool:
            return "ingest_unacknowledged_events 90.0" in (await door.client.get("/metrics")).text

        await until(held, "the first request waits for Kafka")
        over = await door.post("/v1/events", [example(id=f"b{n}") for n in range(20)], BATCH)
        assert over.status_code == 503
        assert "100 events wait for Kafka already" in over.json()["detail"]
        broker.resume()
        assert (await first).status_code == 202
        assert {event["id"][0] for event in await door.stored_events("evaluations")} == {"a"}


async def test_limits_on_body_event_and_batch_name_the_limit(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, tmp_path, max_body_bytes=200_000, max_event_bytes=2_000, max_batch_events=50) as door:
        large = json.dumps([example(data={"comment": "x" * 300_000})]).encode()
        for answer, words in (
            (await door.post("/v1/events", large, BATCH), "larger than 200000 bytes"),
            (await door.post("/v1/events", large, BATCH, headers={"content-length": "1"}), "larger than 200000 bytes"),
            (await door.post("/v1/events", example(data={"comment": "x" * 2_000}), STRUCTURED), "the limit is 2000"),
            (await door.post("/v1/events", [example()] * 51, BATCH), "holds 51 events; the limit is 50"),
            (
                await door.post("/v1/evaluations", {**example()["data"], "contact_id": "k", "comment": "x" * 1_700}),
                "the limit is 2000",
            ),
        ):
            assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json"), answer.text
            assert words in answer.json()["detail"]
        mixed = await door.post("/v1/events", [example(), example(data={"comment": "x" * 2_000})], BATCH)
        assert mixed.json()["rejected"][0]["problem"]["status"] == 413
        assert len(await door.stored("evaluations")) == 1


async def test_a_gzip_bomb_is_never_unpacked(door: Door) -> None:
    bomb = gzip.compress(b" " * (64 * MIB), 9)
    assert len(bomb) < MIB // 4
    answer = await door.post("/v1/orders", bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "ingest_held_bytes 0.0" in (await door.client.get("/metrics")).text


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"{}" * 100)[:-9], "gzip", 400),
        (gzip.compress(b"{}"), "br", 415),
        (gzip.compress(b"[") + gzip.compress(b"]"), "gzip", 202),
    ],
    ids=["no gzip", "cut short", "another coding", "two members"],
)
async def test_content_codings(door: Door, body: bytes, encoding: str, status: int) -> None:
    answer = await door.post("/v1/orders", body, headers={"content-encoding": encoding})
    assert answer.status_code == status, answer.text


class Slow:
    """A body in parts, of which the last is held back until told."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.go_on = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts[:-1]:
            yield part
        await self.go_on.wait()
        yield self.parts[-1]


async def post_slowly(door: Door, body: Slow) -> Any:
    headers = {"authorization": f"Bearer {door.token}", "content-type": NDJSON}
    return await door.client.post("/v1/evaluations", content=body, headers=headers)


async def test_bodies_in_hand_are_bounded(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, tmp_path, max_held_bytes=100_000, max_body_bytes=50_000) as door:
        line = json.dumps({**example()["data"], "contact_id": "k"}).encode() + b"\n"
        slow = Slow([line * (45_000 // len(line)), line])
        first, second = (asyncio.create_task(post_slowly(door, slow)) for _ in range(2))

        async def held() -> bool:
            metrics = (await door.client.get("/metrics")).text
            return float(metrics.partition("\ningest_held_bytes ")[2].partition("\n")[0]) > 85_000

        await until(held, "the slow bodies are held")
        over = await door.post("/v1/evaluations", line * (20_000 // len(line)), NDJSON)
        assert over.status_code == 503
        assert "Nothing of this request was written" in over.json()["detail"]
        slow.go_on.set()
        assert ((await first).status_code, (await second).status_code) == (202, 202)
        assert "ingest_held_bytes 0.0" in (await door.client.get("/metrics")).text


async def test_a_body_that_does_not_come_is_given_up(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, tmp_path, body_timeout_s=0.5) as door:
        slow = Slow([b"{", b"}"])
        answer = await post_slowly(door, slow)
        assert (answer.status_code, answer.json()["type"]) == (408, "too-slow")
        assert "ingest_held_bytes 0.0" in (await door.client.get("/metrics")).text


async def test_single_events_share_rounds(door: Door) -> None:
    def rounds(text: str) -> float:
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith("ingest_round_events_count")))

    before = rounds((await door.client.get("/metrics")).text)
    ids = [f"{n}" for n in range(400)]
    random.Random(1).shuffle(ids)
    answers = await asyncio.gather(*(door.post("/v1/events", example(id=i, data={"customer_id": i}), STRUCTURED) for i in ids))
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"accepted":1,"rejected":[]}')}
    assert {event["id"] for event in await door.stored_events("evaluations")} == set(ids)
    assert rounds((await door.client.get("/metrics")).text) - before < 200
