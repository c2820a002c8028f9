"""Who may send, for which regions, and how much."""

import json
from pathlib import Path

import pytest

from ingest.door import BATCH, STRUCTURED, Door, example, opened

ROUTES = ("/v1/events", "/v1/evaluations", "/v1/complaints", "/v1/enquiries", "/v1/orders")


@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_needs_a_token_with_the_scope(door: Door, path: str) -> None:
    nobody = await door.client.post(path, content=b"{}")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    forged = await door.post(path, {}, token="eyJhbGciOiJub25lIn0.e30.")
    assert forged.status_code == 401
    analyst = await door.post(path, {}, token=door.token_of("analyst"))
    assert analyst.status_code == 403
    assert "events:write" in analyst.json()["detail"]
    assert {answer.headers["content-type"] for answer in (nobody, forged, analyst)} == {"application/problem+json"}


@pytest.mark.parametrize("path", ROUTES)
async def test_other_methods_are_a_405(door: Door, path: str) -> None:
    answer = await door.client.get(path, headers={"authorization": f"Bearer {door.token}"})
    assert answer.status_code == 405


async def test_an_event_of_a_foreign_region_is_refused_alone(door: Door) -> None:
    token = door.token_of("producer", ("NJ", "SZ"))
    events = [
        example(id="1", data={"region": "NJ"}),
        example(id="2", data={"region": "WX"}),
        example(id="3", data={"region": "SZ"}),
    ]
    answer = await door.post("/v1/events", events, BATCH, token=token)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["problem"]["status"], rejected["problem"]["field"]) == (1, 403, "data.region")
    assert [event["id"] for event in await door.stored_events("evaluations")] == ["1", "3"]


async def test_where_all_are_foreign_nothing_is_acceptable(door: Door) -> None:
    answer = await door.post("/v1/events", example(data={"region": "WX"}), STRUCTURED, token=door.token_of("producer", ("NJ",)))
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["problem"]["status"] == 403
    assert "does not cover WX" in answer.json()["detail"]
    assert await door.stored("evaluations") == []


async def test_a_client_over_its_rate_waits_and_others_do_not(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, tmp_path, rate_events_per_s=10, rate_burst_events=20) as door:
        events = [example(id=f"{n}") for n in range(60)]
        assert (await door.post("/v1/events", events, BATCH)).status_code == 202
        over = await door.post("/v1/events", example(), STRUCTURED)
        assert (over.status_code, over.headers["content-type"]) == (429, "application/problem+json")
        assert 3 <= int(over.headers["retry-after"]) <= 5
        other = await door.post("/v1/events", example(), STRUCTURED, token=door.token_of("producer", subject="another"))
        assert other.status_code == 202


async def test_openapi_lists_every_route_with_its_bodies(door: Door) -> None:
    document = (await door.client.get("/openapi.json")).json()
    for path in ROUTES:
        post = document["paths"][path]["post"]
        assert {"202", "400", "401", "403", "413", "415", "422", "429", "503"} <= post["responses"].keys()
        assert post["security"] == [{"HTTPBearer": []}]
        assert post["requestBody"]["content"]
    assert set(document["paths"]["/v1/events"]["post"]["requestBody"]["content"]) == {STRUCTURED, BATCH, "application/json"}
    text = json.dumps(document)
    for word in ("evaluation.submitted.v1", "topic_path", "customer_id", "occurred_at"):
        assert word in text
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]


async def test_what_is_counted(door: Door) -> None:
    await door.post("/v1/events", [example(), example(time="x"), example(data={"region": "a b"})], BATCH)
    metrics = (await door.client.get("/metrics")).text
    for line in (
        'ingest_events_accepted_total{topic="evaluations"}',
        'ingest_events_rejected_total{reason="time"}',
        'ingest_events_rejected_total{reason="invalid"}',
        'http_requests_total{method="POST",route="/v1/events",status="202"}',
        'http_request_seconds_count{route="/v1/events"}',
        "ingest_round_seconds_count",
        "ingest_unacknowledged_events 0.0",
        "ingest_held_bytes 0.0",
    ):
        assert line in metrics
