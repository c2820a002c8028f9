"""The whole service as a process: from an event in Kafka to a call that is recorded, and what it tells others."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import schemathesis
from aiokafka import AIOKafkaConsumer
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from closedloop.common.consumer.crashpoints import EXIT_CODE
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from recovery.desk import closed_complaint, rating
from recovery.running import bearer, recovery_process, run_until_crash

HEADERS = [("content-type", b"application/cloudevents+json")]
DEADLINE_S = 30.0


async def send(kafka: KafkaSettings, topic: str, *events: dict[str, Any]) -> None:
    sink = KafkaSink(kafka, "test")
    await sink.publish([Message(topic, e["data"]["customer_id"].encode(), msgspec.json.encode(e), HEADERS) for e in events])
    await sink.stop()


async def claimed(client: httpx2.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    """The next customer, waited for."""
    deadline = time.monotonic() + DEADLINE_S
    while (answer := await client.post("/v1/claims", headers=headers)).status_code == 204:
        assert time.monotonic() < deadline, "nobody came into the queue"
        await asyncio.sleep(0.05)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def said_about(kafka: KafkaSettings, customer: str, count: int) -> list[dict[str, Any]]:
    """The first `count` events about a customer on the topic of recoveries."""
    consumer = AIOKafkaConsumer("recoveries", **kafka.client_options(), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            async for record in consumer:
                if record.key == customer.encode():
                    found.append(msgspec.json.decode(record.value))
                if len(found) == count:
                    return found
    finally:
        await consumer.stop()
    return found


async def test_from_the_event_to_the_recorded_call(
    tmp_path: Path, kafka_bootstrap: str, recovery_url: str, unique_name: str
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka)
    now, region, customer = datetime.now(UTC), unique_name, f"C-{unique_name}"
    async with recovery_process(tmp_path, kafka_bootstrap, recovery_url) as (client, issuer, process):
        ann = bearer(issuer, "agent", "ann", region)
        assert (await client.post("/v1/claims")).status_code == 401
        await send(kafka, "evaluations", rating(customer, now - timedelta(minutes=5), region=region, phone="+8613800138007"))
        await send(kafka, "complaints", closed_complaint(customer, now - timedelta(minutes=6), region=region))
        claim = await claimed(client, ann)
        assert claim["customer_id"] == customer
        assert (await client.post("/v1/claims", headers=ann)).json()["recovery_id"] == claim["recovery_id"]
        call = {"claim_number": claim["claim_number"], "reached": True, "result": "resolved", "reason": "repair_slow"}
        done = await client.post(f"/v1/recoveries/{claim['recovery_id']}/contacts", headers=ann, json=call)
        assert done.status_code == 201, done.text
        assert done.json()["recovery"]["status"] == "closed"
        events = await said_about(kafka, customer, 3)
        assert [e["type"].split(".")[1] for e in events] == ["queued", "contacted", "closed"]
        assert 290 < events[1]["data"]["seconds_to_first_contact"] < 420
        assert [int(e["sequence"]) for e in events] == sorted({int(e["sequence"]) for e in events})
        metrics = (await client.get("/metrics")).text
        assert 'recovery_contacts_total{result="resolved"} 1.0' in metrics
        assert customer not in metrics
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    assert "13800138007" not in (tmp_path / "recovery.log").read_text()


@pytest.fixture
def own_kafka(server_folder: Path) -> Iterator[str]:
    """A broker with no other test's ratings: the first message to be published is then this test's."""
    server = KafkaServer(server_folder / "kafka", free_port())
    server.start()
    yield server.bootstrap
    server.stop()


@pytest.mark.parametrize("point", ["consumer.after_effects", "consumer.after_commit", "relay.after_publish"])
async def test_a_crash_leaves_one_recovery_and_what_is_said_twice_has_one_id(
    tmp_path: Path, own_kafka: str, recovery_url: str, unique_name: str, point: str
) -> None:
    kafka = KafkaSettings(bootstrap=own_kafka)
    await ensure_topics(kafka)
    customer = f"C-{unique_name}"
    await send(kafka, "evaluations", rating(customer, datetime.now(UTC), region=unique_name))
    assert await run_until_crash(tmp_path, own_kafka, recovery_url, point) == EXIT_CODE
    async with recovery_process(tmp_path, own_kafka, recovery_url) as (client, issuer, _):
        claim = await claimed(client, bearer(issuer, "agent", "ann", unique_name))
        story = (await client.get(f"/v1/recoveries/{claim['recovery_id']}", headers=bearer(issuer, "agent", "ann"))).json()
        assert len(story["signals"]) == 1
        assert [h["action"] for h in story["history"]] == ["queued", "claimed"]
        # said a second time only where the crash came between Kafka's word and ours
        said = await said_about(kafka, customer, 2 if point == "relay.after_publish" else 1)
    assert {e["id"] for e in said} == {f"{claim['recovery_id']}/1"}


async def test_no_request_breaks_the_service_and_every_answer_is_as_described(
    tmp_path: Path, kafka_bootstrap: str, recovery_url: str, unique_name: str
) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka)
    await send(kafka, "evaluations", rating("C1", datetime.now(UTC), region=unique_name, phone="+8613800138007"))
    async with recovery_process(tmp_path, kafka_bootstrap, recovery_url) as (client, issuer, _):
        claim = await claimed(client, bearer(issuer, "admin", "fuzz", unique_name))
        tried = await asyncio.to_thread(
            _try_all_routes, str(client.base_url), bearer(issuer, "admin", "fuzz"), claim["recovery_id"]
        )
        counted = [line for line in (await client.get("/metrics")).text.splitlines() if line.startswith("http_requests_total")]
    assert tried >= 9, "operations of the service's own"
    asked = sum(float(line.rpartition(" ")[2]) for line in counted if 'route="/v1/' in line)
    assert asked >= tried * 10, counted


def _try_all_routes(url: str, headers: dict[str, str], recovery_id: str) -> int:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path_regex="^/v1/(claims|recoveries|contacts)")
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        tried += 1

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def keeps_its_word(case: schemathesis.Case[Any]) -> None:
            if "recovery_id" in case.path_parameters:
                case.path_parameters["recovery_id"] = recovery_id
            case.call_and_validate(
                headers=headers,
                checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
            )

        keeps_its_word()
    return tried
