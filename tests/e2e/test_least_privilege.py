"""Every route needs its scope; what nobody may see is seen nowhere."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer

from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.local.stack import Stack
from e2e.conftest import call, routes

OPEN = {"/livez", "/readyz", "/metrics"}
CANARY = "+8613912345678"


def test_every_route_refuses_who_has_no_token_and_who_has_no_scope(stack: Stack) -> None:
    producer, analyst = stack.token("producer"), stack.token("analyst")
    checked = 0
    for service, method, template in routes(stack):
        if template in OPEN:
            continue
        path = re.sub(r"\{\w+\}", "00000000-0000-0000-0000-000000000000", template)
        body: dict[str, Any] | None = {} if method in ("POST", "PUT", "PATCH") else None
        other = analyst if service == "ingest" else producer  # neither has any scope of these services
        for token, expected in ((None, 401), ("forged", 401), (other, 403)):
            status, headers, problem = call(stack, service, method, path, token, body)
            assert status == expected, (service, method, template, status, problem)
            assert headers["content-type"] == "application/problem+json"
            assert problem["status"] == expected
        checked += 1
    assert checked >= 20


async def test_a_phone_number_is_in_no_log_metric_dead_letter_header_or_answer(stack: Stack) -> None:
    admin = stack.token("admin")
    rating = {"customer_id": "canary", "region": "NJ", "kind": "survey", "score": 1, "contact_id": "canary", "phone": CANARY}
    status, _, answer = call(stack, "ingest", "POST", "/v1/evaluations", admin, rating | {"occurred_at": now()})
    assert status == 202, answer
    refused = rating | {"region": "no such region", "occurred_at": now()}
    texts = [str(call(stack, "ingest", "POST", "/v1/evaluations", admin, refused))]
    deadline = time.monotonic() + 30
    while not call(stack, "recovery", "GET", "/v1/recoveries?customer_id=canary", admin)[2]["items"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    [queued] = call(stack, "recovery", "GET", "/v1/recoveries?customer_id=canary", admin)[2]["items"]
    assert queued["phone"].endswith("78") and "***" in queued["phone"]
    texts += [str(queued), str(call(stack, "recovery", "GET", f"/v1/recoveries/{queued['recovery_id']}", admin))]
    texts += [str(call(stack, service.name, "GET", "/metrics", None)) for service in stack.services]
    texts += [log.read_text(errors="replace") for log in (stack.var / "log").glob("*.log")]
    texts += [str(key) + str(headers) async for key, headers in keys_and_headers(stack)]
    spellings = (CANARY, CANARY[1:], CANARY[3:], "139 1234 5678", "139-1234-5678")
    for text in texts:
        assert not any(spelling in text for spelling in spellings)

    # who needs it sees it, and that is written down
    etag = {"If-Match": f'"{queued["version"]}"'}
    path = f"/v1/recoveries/{queued['recovery_id']}/reveal-phone"
    status, _, revealed = call(stack, "recovery", "POST", path, admin, {"why": "call back"}, **etag)
    assert status == 200, revealed
    assert revealed["phone"] == CANARY
    connection = await asyncpg.connect(stack.admin_url)
    audit = await connection.fetch("SELECT actor, why FROM recovery.phone_reveal_history")
    await connection.close()
    assert [(entry["actor"], entry["why"]) for entry in audit] == [("local-admin", "call back")]


async def keys_and_headers(stack: Stack) -> Any:
    consumer = AIOKafkaConsumer(
        *[topic.name for topic in (*TOPICS, *dead_letter_topics())],
        bootstrap_servers=stack.bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while batches := await consumer.getmany(timeout_ms=2000):
            for records in batches.values():
                for record in records:
                    yield record.key, record.headers
    finally:
        await consumer.stop()


def now() -> str:
    return datetime.now(UTC).isoformat()
