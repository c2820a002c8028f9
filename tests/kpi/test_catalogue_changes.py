"""An operator tries, saves and retires entries over REST, on real PostgreSQL and Kafka; and every batch is counted by the catalogue
that is in force when it is."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from fastapi import FastAPI

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi import api, entries_api, saved_entries
from closedloop.kpi.assembly import Assembler, Assembly
from closedloop.kpi.catalogue_changes import CatalogueChanges
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain.months import bounds, earlier
from closedloop.kpi.domain.windows import time_of
from closedloop.kpi.effects import Effects
from closedloop.kpi.live import CatalogueWatch, Live, LiveProcessor
from closedloop.kpi.settings import KpiSettings
from closedloop.local.issuer import Issuer
from kpi.records import APPENDED, batch, encoded, envelope, rating, record
from kpi.shipped import WRITTEN

ZONE = ZoneInfo("Asia/Shanghai")
LAST_MONTH = earlier(datetime.now(ZONE).strftime("%Y-%m"), 1)
SHARE = "dissatisfied_share"
LOW_SCORES: dict[str, Any] = {
    "id": "very_low_scores",
    "name_en": "Very low scores",
    "name_zh": "极低评分占比",
    "process": "customer_service",
    "phase": "ex_post",
    "class": "perception",
    "unit": "percent",
    "better": "lower",
    "target": 1,
    "owner": "customer_service",
    "topic": "evaluations",
    "filter": "score IS NOT NULL",
    "numerator": "score <= 2",
    "denominator": 1,
    "dimensions": ["region"],
}


async def no_frontier(_: str) -> datetime | None:
    return None


def process(pool: Pool, put: Any = lambda _: None) -> Live:
    """What one process of the service makes of the catalogue."""
    history = CatalogueHistory(WRITTEN)
    assembler = Assembler(pool, no_frontier, history, KpiSettings(), ZONE, lambda: None)
    return Live(history, ZONE, assembler.assemble, put)


@dataclass
class Operator:
    """A quality manager at one process; another process counts beside it."""

    client: httpx2.AsyncClient
    issuer: Issuer
    pool: Pool
    other: Live

    async def ask(
        self, method: str, path: str, status: int, *, role: str = "manager", regions: tuple[str, ...] = ("*",), **more: Any
    ) -> Any:
        headers = {"Authorization": f"Bearer {self.issuer.mint(role, 'mei', regions)}"} | more.pop("headers", {})
        answer = await self.client.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def count(self, processor: LiveProcessor, decoded: Any) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            assert not await processor.apply(connection, decoded.payload)
        processor.committed(decoded.payload)


@pytest.fixture
async def operator(kpi_url: str, kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Operator]:
    issuer = Issuer(tmp_path / "issuer")
    known = issuer.environment()
    auth = AuthSettings(issuer=known["AUTH_ISSUER"], jwks_url=known["AUTH_JWKS_URL"])
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka)
    pool = await create_pool(kpi_url, "kpi")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    routers = [api.router, entries_api.router]
    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=routers, lifespan=lifespan)

    def put(assembly: Assembly) -> None:
        app.state.catalogue, app.state.values = assembly.catalogue, assembly.values

    app.state.zone = ZONE
    settings = KpiSettings(database_url=kpi_url)
    app.state.catalogue_changes = CatalogueChanges(
        pool, process(pool, put), CatalogueHistory(WRITTEN), Effects(pool, kafka, settings, ZONE), ZONE
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kpi", timeout=60) as client:
        yield Operator(client, issuer, pool, process(pool))
    await pool.close()


def ratings(*scores: int, at: datetime = APPENDED - timedelta(hours=1)) -> Any:
    made = [encoded(envelope(rating(score=score), id=f"{at}-{n}", time=at.isoformat())) for n, score in enumerate(scores)]
    return batch([record(value, offset=n) for n, value in enumerate(made)])


async def test_a_batch_that_was_read_before_is_counted_by_the_entry_that_was_saved_meanwhile(operator: Operator) -> None:
    elsewhere = LiveProcessor(operator.other)
    decoded = elsewhere.decode(ratings(1, 2, 9, 10))
    saved = await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "the board asks for it"})
    assert (saved["version"], saved["is_retired"]) == (1, False)
    await operator.count(elsewhere, decoded)
    window = {"window": "24h", "at": APPENDED.isoformat()}
    value = await operator.ask("GET", "/v1/indicators/very_low_scores/value", 200, params=window)
    assert (value["numerator"], value["denominator"], value["sample"]) == (2, 4, 4)
    again = elsewhere.decode(ratings(1, 2, 9, 10))
    await operator.count(elsewhere, again)  # a repetition, also for the new catalogue
    assert (await operator.ask("GET", "/v1/indicators/very_low_scores/value", 200, params=window))["sample"] == 4
    share = await operator.ask("GET", f"/v1/indicators/{SHARE}/value", 200, params=window)
    assert share["sample"] == 4


async def test_every_version_says_who_when_and_why_and_a_lost_race_is_refused(operator: Operator) -> None:
    before = await operator.client.get(
        f"/v1/indicators/{SHARE}", headers={"Authorization": f"Bearer {operator.issuer.mint('manager', 'mei')}"}
    )
    entry = next(e for _, e in WRITTEN if isinstance(e, dict) and e["id"] == SHARE)
    body = {"entry": {**entry, "target": 8}, "reason": "the year's goal"}
    changed = await operator.ask(
        "PUT", f"/v1/indicators/{SHARE}", 200, json=body, headers={"If-Match": before.headers["ETag"], "Idempotency-Key": "k"}
    )
    repeated = await operator.ask(
        "PUT", f"/v1/indicators/{SHARE}", 200, json=body, headers={"If-Match": before.headers["ETag"], "Idempotency-Key": "k"}
    )
    assert changed == repeated
    assert (changed["version"], changed["counted_from"]) == (2, None)  # the formula is the same
    await operator.ask("PUT", f"/v1/indicators/{SHARE}", 412, json=body, headers={"If-Match": before.headers["ETag"]})
    await operator.ask("PUT", f"/v1/indicators/{SHARE}", 428, json=body)
    shown = await operator.ask("GET", f"/v1/indicators/{SHARE}", 200)
    assert (shown["target"], shown["version"]) == (8, 2)
    [version] = (await operator.ask("GET", f"/v1/indicators/{SHARE}/versions", 200))["items"]
    assert (version["saved_by"], version["reason"], version["entry"]["target"]) == ("mei", "the year's goal", 8)
    await CatalogueWatch(operator.pool, operator.other).look()
    known = operator.other.now.catalogue.get(SHARE)
    assert known is not None and known.target == 8


async def test_what_is_retired_is_shown_and_counted_no_more_and_may_come_back(operator: Operator) -> None:
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    taken = await operator.ask("POST", "/v1/indicators", 409, json={"entry": LOW_SCORES, "reason": "again"})
    assert "PUT /v1/indicators/very_low_scores" in taken["detail"]
    path = "/v1/indicators/very_low_scores"
    retired = await operator.ask("POST", f"{path}/retirement", 200, json={"reason": "trial over"}, headers={"If-Match": '"1"'})
    assert (retired["version"], retired["is_retired"]) == (2, True)
    await operator.ask("GET", path, 404)
    await operator.ask("POST", f"{path}/retirement", 404, json={"reason": "again"}, headers={"If-Match": '"2"'})
    back = await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "second trial"})
    assert back["version"] == 3
    reasons = [one["reason"] for one in (await operator.ask("GET", f"{path}/versions", 200))["items"]]
    assert reasons == ["second trial", "trial over", "trial"]


async def test_a_version_for_later_waits_for_its_day(operator: Operator) -> None:
    tomorrow = (datetime.now(ZONE) + timedelta(days=1)).date().isoformat()
    later = LOW_SCORES | {"valid_from": tomorrow}
    saved = await operator.ask("POST", "/v1/indicators", 201, json={"entry": later, "reason": "from tomorrow on"})
    assert saved["valid_from"] == tomorrow
    assert saved["counted_from"].startswith(tomorrow)
    await operator.ask("GET", "/v1/indicators/very_low_scores", 404)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"filter": "scoer > 2"}, "entry: very_low_scores: filter: unknown column `scoer` of evaluations; did you mean `score`?"),
        ({"dimensions": ["product"]}, "dimensions: must name `region`"),
        ({"parent": "nobody"}, "parent: `nobody` is no indicator that is computed from events"),
        ({"valid_from": "2020-01-01"}, "valid_from: 2020-01-01 is past"),
        ({"version": 7}, "version: is given by the service"),
        ({"id": "Very Low"}, "id: must match"),
    ],
)
async def test_a_wrong_entry_is_named_by_entry_and_word(operator: Operator, change: dict[str, Any], said: str) -> None:
    refused = await operator.ask("POST", "/v1/indicators", 422, json={"entry": LOW_SCORES | change, "reason": "x"})
    assert said in refused["detail"]


async def test_only_who_manages_all_regions_changes_the_catalogue(operator: Operator) -> None:
    body = {"entry": LOW_SCORES, "reason": "x"}
    await operator.ask("POST", "/v1/indicators", 403, role="analyst", json=body)
    refused = await operator.ask("POST", "/v1/indicators", 403, regions=("NJ",), json=body)
    assert "all regions" in refused["detail"]


async def test_a_changed_threshold_is_tried_on_last_month_and_nothing_is_saved(operator: Operator) -> None:
    noon = time_of(bounds(LAST_MONTH, ZONE)[0]) + timedelta(days=9, hours=12)
    processor = LiveProcessor(operator.other)
    await operator.count(processor, processor.decode(ratings(*([1] * 10 + [9] * 30), at=noon)))
    entry = next(e for _, e in WRITTEN if isinstance(e, dict) and e["id"] == SHARE)
    entry = {key: value for key, value in entry.items() if key != "control"}
    strict = entry | {
        "target": 5,
        "warning": 6,
        "threshold": {"window": "1h", "critical": 20, "minimum_sample": 30, "by": ["region"]},
    }
    tried = await operator.ask(
        "POST", f"/v1/indicators/{SHARE}/dry-run", 200, json={"entry": strict, "reason": "too late as it is"}
    )
    assert (tried["month"], tried["read"]) == (LAST_MONTH, "kept")
    assert tried["before"]["amount"] == tried["after"]["amount"] == {"value": 25, "numerator": 10, "denominator": 40, "sample": 40}
    assert (tried["before"]["breaches"]["count"], tried["after"]["breaches"]["count"]) == (0, 1)
    [breach] = tried["after"]["breaches"]["items"]
    assert (breach["level"], breach["value"], breach["threshold"]) == ("critical", 25, 20)
    assert datetime.fromisoformat(breach["begin"]) == noon + timedelta(minutes=1)
    assert (await operator.ask("GET", f"/v1/indicators/{SHARE}/versions", 200))["items"] == []


async def test_a_formula_that_nobody_counted_is_tried_on_what_the_topic_keeps(
    operator: Operator, kafka_bootstrap: str, unique_name: str
) -> None:
    start, end = bounds(LAST_MONTH, ZONE)
    times = [time_of(start) + timedelta(hours=n) for n in range(36)] + [time_of(start) - timedelta(minutes=1), time_of(end)]
    messages = []
    for n, at in enumerate(times):
        data = rating(customer_id=f"{unique_name}-{n}", region=unique_name, score=1 if n % 3 == 0 else 9)
        messages.append(
            Message(
                "evaluations", data["customer_id"].encode(), encoded(envelope(data, id=f"{unique_name}-{n}", time=at.isoformat()))
            )
        )
    poison = Message("evaluations", f"{unique_name}-p".encode(), b"\xff")
    sink = KafkaSink(KafkaSettings(bootstrap=kafka_bootstrap), "test")
    await sink.publish([*messages, poison, *messages[:10]])
    await sink.stop()
    entry = LOW_SCORES | {"filter": f"region = '{unique_name}' AND score IS NOT NULL"}
    tried = await operator.ask("POST", "/v1/indicators/very_low_scores/dry-run", 200, json={"entry": entry, "reason": "x"})
    assert (tried["read"], tried["is_whole"], tried["kept_from"], tried["before"]) == ("topic", True, None, None)
    assert tried["records"] >= 49
    assert tried["after"]["amount"] == {"value": pytest.approx(100 / 3), "numerator": 12, "denominator": 36, "sample": 36}
    assert tried["after"]["judgement"] == "short"
    await operator.ask("GET", "/v1/indicators/very_low_scores", 404)


async def test_a_past_months_report_goes_by_the_entries_of_its_last_day(operator: Operator) -> None:
    this_month = earlier(LAST_MONTH, -1)
    began = date.fromisoformat(f"{this_month}-01")
    [entry] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]
    async with operator.pool.acquire() as connection:
        await saved_entries.insert(connection, SHARE, 2, {**entry, "target": 3}, began, None, "mei", "we can do better")
        await saved_entries.insert(connection, "sms_ratings", 2, None, began, None, "mei", "nobody rates by SMS")
        reports = (await operator.other.refresh(connection)).reports

    async def targets(month: str) -> dict[str, float | None]:
        _, report = await reports.show(month, "json", Principal("mei", "test", frozenset(), None))
        return {f["indicator_id"]: f["target"] for section in json.loads(report)["sections"] for f in section["figures"]}

    past, present = await targets(LAST_MONTH), await targets(this_month)
    assert (past[SHARE], present[SHARE]) == (10, 3)
    assert past.keys() - present.keys() == {"sms_ratings"}
