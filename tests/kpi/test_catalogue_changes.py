"""An operator tries, saves and retires entries over REST, on real PostgreSQL and Kafka; and every batch is counted by the catalogue
that is in force when it is."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
import yaml
from fastapi import FastAPI

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi import api, counted_store, entries_api, saved_entries
from closedloop.kpi.assembly import Assembler, Assembly
from closedloop.kpi.catalogue_changes import CatalogueChanges
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.counted import counted_from
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.months import bounds, earlier
from closedloop.kpi.domain.windows import minute_of, time_of
from closedloop.kpi.effects import Effects
from closedloop.kpi.live import CatalogueWatch, Live, LiveProcessor
from closedloop.kpi.reading import BucketReader
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

    routers = [api.router, api.rules_router, entries_api.router]
    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=routers, lifespan=lifespan)

    def put(assembly: Assembly) -> None:
        app.state.catalogue, app.state.values = assembly.catalogue, assembly.values

    app.state.zone = ZONE
    settings = KpiSettings(database_url=kpi_url)
    changes = CatalogueChanges(pool, process(pool, put), CatalogueHistory(WRITTEN), Effects(pool, kafka, settings, ZONE), ZONE)
    app.state.catalogue_changes, app.state.latest_version = changes, changes.latest
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
    version, first = (await operator.ask("GET", f"/v1/indicators/{SHARE}/versions", 200))["items"]
    assert (version["saved_by"], version["reason"], version["entry"]["target"]) == ("mei", "the year's goal", 8)
    assert (first["version"], first["saved_by"], first["place"].split(":")[0]) == (1, None, "customer_service.yaml")
    await CatalogueWatch(operator.pool, operator.other).look()
    known = operator.other.now.catalogue.get(SHARE)
    assert known is not None and known.target == 8


async def test_what_was_saved_has_its_alert_too(operator: Operator) -> None:
    threshold = {"window": "1h", "critical": 30, "hysteresis": 1, "minimum_sample": 20, "by": ["region"]}
    body = {"entry": LOW_SCORES | {"threshold": threshold}, "reason": "the board asks for it"}
    await operator.ask("POST", "/v1/indicators", 201, json=body)
    token = {"Authorization": f"Bearer {operator.issuer.mint('analyst', 'mei')}"}
    answer = await operator.client.get("/v1/alert-rules", headers=token)
    assert answer.headers["content-type"] == "application/yaml"
    [group] = yaml.safe_load(answer.text)["groups"]
    [rule] = [rule for rule in group["rules"] if rule.get("labels", {}).get("indicator") == "very_low_scores"]
    assert (rule["alert"], rule["labels"]["owner"]) == ("IndicatorBreached", "customer_service")


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


async def numbers(operator: Operator, indicator: Indicator) -> tuple[float, float]:
    """(numerator, sample) of an indicator as it is given, over the day of the ratings."""
    reader = BucketReader(operator.pool, Catalogue([indicator]), 1 << 20, ZONE)
    window = [(minute_of(APPENDED) - 24 * 60, minute_of(APPENDED))]
    assert isinstance(indicator, EventIndicator)
    row = (await reader.figures(indicator.topic, indicator.parts, (), window)).row(0, named=True)
    return row["numerator"], row["sample"]


async def test_what_comes_late_is_counted_by_yesterdays_formula_too_and_tomorrows_is_counted_from_today(operator: Operator) -> None:
    today = datetime.now(ZONE).date()
    later = (today + timedelta(days=3)).isoformat()
    elsewhere = LiveProcessor(operator.other)
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    await operator.count(elsewhere, elsewhere.decode(ratings(1, 2, 9)))
    formulas = ("score <= 2", "score <= 1", "score < 2")
    stricter, strictest = ({**LOW_SCORES, "numerator": formula} for formula in formulas[1:])
    path = "/v1/indicators/very_low_scores"
    await operator.ask("PUT", path, 200, json={"entry": stricter, "reason": "stricter"}, headers={"If-Match": '"1"'})
    waiting = {"entry": strictest | {"valid_from": later}, "reason": "next"}
    await operator.ask("PUT", path, 200, json=waiting, headers={"If-Match": '"2"'})
    await operator.count(elsewhere, elsewhere.decode(ratings(1, 1, 2, 9, at=APPENDED - timedelta(hours=2))))
    read = [read_entry({**LOW_SCORES, "numerator": formula}, "test:1")[0] for formula in formulas]
    first, second, third = (indicator for indicator in read if indicator is not None)
    assert await numbers(operator, first) == (5, 7)  # as if it had never been changed
    assert [(await numbers(operator, one))[0] for one in (second, third)] == [2, 2]  # of what came since
    async with operator.pool.acquire() as connection:
        counted = await counted_store.read(connection)
    current = operator.other.now.catalogue
    assert counted_from(first, counted, current) is None  # the first catalogue of all
    since = counted_from(third, counted, current)
    assert since is not None and abs(since - datetime.now(UTC)) < timedelta(minutes=5)


async def test_what_is_counted_since_the_middle_of_the_month_is_read_again_or_says_so(operator: Operator) -> None:
    start = time_of(bounds(LAST_MONTH, ZONE)[0])
    middle = start + timedelta(days=15)
    processor = LiveProcessor(operator.other)
    await operator.count(processor, processor.decode(ratings(*[9] * 30 + [1] * 10, at=start + timedelta(days=20))))
    await operator.pool.execute("UPDATE counted SET since = $1 WHERE topic = 'evaluations'", middle)
    [entry] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]
    tried = await operator.ask("POST", f"/v1/indicators/{SHARE}/dry-run", 200, json={"entry": entry, "reason": "x"})
    assert tried["read"] == "topic"  # which is asked for the month's beginning
    assert datetime.fromisoformat(tried["before"]["counted_from"]) == middle
    assert tried["before"]["amount"]["sample"] == 40
    async with operator.pool.acquire() as connection:
        reports = (await operator.other.refresh(connection)).reports
    _, page = await reports.show(LAST_MONTH, "html", Principal("mei", "test", frozenset(), None))
    assert f"counted only since {middle.astimezone(ZONE):%m-%d %H:%M}" in page.decode()


async def test_only_who_manages_all_regions_changes_the_catalogue(operator: Operator) -> None:
    body = {"entry": LOW_SCORES, "reason": "x"}
    await operator.ask("POST", "/v1/indicators", 403, role="analyst", json=body)
    refused = await operator.ask("POST", "/v1/indicators", 403, regions=("NJ",), json=body)
    assert "all regions" in refused["detail"]
    token = operator.issuer.mint("manager", "mei", units=["hotline"])
    answer = await operator.client.post("/v1/indicators", json=body, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, "The catalogue is for who answers for all units" in answer.json()["detail"]) == (403, True)


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
    assert len((await operator.ask("GET", f"/v1/indicators/{SHARE}/versions", 200))["items"]) == 1  # the file's


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


async def publish(kafka_bootstrap: str, name: str, *ratings: tuple[datetime, int]) -> None:
    """One rating a customer, of a region of this name."""
    messages = []
    for n, (at, score) in enumerate(ratings):
        data = rating(customer_id=f"{name}-{n}", region=name, score=score)
        value = encoded(envelope(data, id=f"{name}-{n}", time=at.isoformat()))
        messages.append(Message("evaluations", data["customer_id"].encode(), value))
    sink = KafkaSink(KafkaSettings(bootstrap=kafka_bootstrap), "test")
    await sink.publish(messages)
    await sink.stop()


async def try_file(operator: Operator, text: str, status: int = 200) -> Any:
    headers = {"Content-Type": "application/yaml"}
    return await operator.ask("POST", "/v1/indicators/dry-run", status, content=text.encode(), headers=headers)


async def test_a_chart_that_nobody_judged_has_its_baseline_from_the_months_before(
    operator: Operator, kafka_bootstrap: str, unique_name: str
) -> None:
    start = time_of(bounds(LAST_MONTH, ZONE)[0])
    calm = [(start - timedelta(days=day, hours=-12), 1 if n == 0 else 9) for day in range(1, 15) for n in range(20)]
    burst = [(start + timedelta(hours=12), 1 if n < 15 else 9) for n in range(20)]
    await publish(kafka_bootstrap, unique_name, *calm, *burst)
    chart = {"chart": "p", "period": "day", "baseline": 14, "by": ["region"]}
    entry = LOW_SCORES | {"filter": f"region = '{unique_name}' AND score IS NOT NULL", "control": chart}
    tried = await operator.ask("POST", "/v1/indicators/very_low_scores/dry-run", 200, json={"entry": entry, "reason": "x"})
    assert datetime.fromisoformat(tried["read_from"]) == start - timedelta(days=14)
    assert tried["after"]["amount"]["sample"] == 20  # what precedes the month is in no figure of the month
    [breach] = tried["after"]["breaches"]["items"]
    assert (breach["rule"], breach["value"], breach["dimensions"]) == ("beyond_limit", 75.0, {"region": unique_name})
    assert datetime.fromisoformat(breach["begin"]) == start + timedelta(days=1)


async def test_a_file_is_tried_as_a_whole_new_formulas_and_what_is_composed_of_them(
    operator: Operator, kafka_bootstrap: str, unique_name: str
) -> None:
    start = time_of(bounds(LAST_MONTH, ZONE)[0])
    await publish(kafka_bootstrap, unique_name, *((start + timedelta(hours=n), 1 if n < 10 else 9) for n in range(40)))
    own = LOW_SCORES | {"filter": f"region = '{unique_name}' AND score IS NOT NULL", "target": None, "critical": 20}
    twice = {name: LOW_SCORES[name] for name in ("name_zh", "process", "phase", "class", "unit", "better", "owner", "dimensions")}
    twice |= {"id": "twice_very_low", "name_en": "Twice", "granularity": "month", "composite": "2 * very_low_scores", "warning": 40}
    [shipped] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]
    own = {name: said for name, said in own.items() if said is not None}
    entries = [own, twice, {**shipped, "version": 2, "valid_from": "2100-01-01"}]
    tried = await try_file(operator, yaml.safe_dump({"indicators": entries}, allow_unicode=True))
    assert tried["unchanged"] == [SHARE]
    low, composed = sorted(tried["items"], key=lambda item: item["before"] is not None or item["indicator_id"] == "twice_very_low")
    assert (low["indicator_id"], low["read"], low["before"]) == ("very_low_scores", "topic", None)
    assert (low["after"]["amount"]["value"], low["after"]["judgement"]) == (25, "critical")
    assert [(b["level"], b["dimensions"]) for b in low["after"]["breaches"]["items"]] == [
        ("critical", {}),
        ("critical", {"region": unique_name}),
    ]
    assert (composed["indicator_id"], composed["after"]["amount"]["value"], composed["after"]["judgement"], composed["read"]) == (
        "twice_very_low",
        50,
        "warning",
        "topic",
    )
    await operator.ask("GET", "/v1/indicators/very_low_scores", 404)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("indicators:\n- id: [", "file:2: is not YAML"),
        ("indicators:\n- id: low\n  filtre: x\n", "file:2: low: filtre: unknown key; did you mean `filter`?"),
        (yaml.safe_dump({"indicators": [LOW_SCORES | {"filter": "scoer > 2"}]}), "unknown column `scoer` of evaluations"),
        (yaml.safe_dump({"indicators": [LOW_SCORES | {"id": f"low_{n}"} for n in range(21)]}), "21 entries; at most 20 are tried"),
    ],
)
async def test_a_wrong_file_is_named_by_line_entry_and_word(operator: Operator, text: str, said: str) -> None:
    assert said in (await try_file(operator, text, 422))["detail"]


async def test_a_file_on_which_the_service_would_not_start_is_refused(operator: Operator) -> None:
    [shipped] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]

    async def refused(*entries: dict[str, Any]) -> str:
        detail: str = (await try_file(operator, yaml.safe_dump({"indicators": list(entries)}, allow_unicode=True), 422))["detail"]
        return detail

    assert "is taken by the entry at customer_service.yaml" in await refused({**shipped, "target": 3})
    assert "is taken by the entry at file:2" in await refused(LOW_SCORES, LOW_SCORES)
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    assert "version: 1 is not above 1, which was saved over REST" in await refused(LOW_SCORES | {"target": 2})
    # the older versions in a file may be below what was saved, as long as the newest is not
    fine = yaml.safe_dump({"indicators": [LOW_SCORES | {"target": 9}, LOW_SCORES | {"version": 2, "target": 2}]})
    assert [item["indicator_id"] for item in (await try_file(operator, fine))["items"]] == ["very_low_scores"]
    headers = {"Content-Type": "application/yaml"}
    path = "/v1/indicators/dry-run?name=customer_service.yaml"
    named = await operator.ask("POST", path, 422, content=fine.encode(), headers=headers)
    assert "is a shipped file's" in named["detail"]


async def test_a_file_without_what_a_saved_entry_is_composed_of_is_refused(operator: Operator) -> None:
    twice = {name: LOW_SCORES[name] for name in ("name_zh", "process", "phase", "class", "unit", "better", "owner", "dimensions")}
    twice |= {"id": "twice_share", "name_en": "Twice", "granularity": "month", "composite": f"2 * {SHARE}"}
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": twice, "reason": "trial"})
    [shipped] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]
    changed = {**shipped, "version": 2, "composite": "1 * complaints_registered", "granularity": "month", "dimensions": ["region"]}
    for name in ("topic", "filter", "numerator", "denominator", "threshold", "control", "export", "formula"):
        changed.pop(name, None)
    refused = await try_file(operator, yaml.safe_dump({"indicators": [changed]}, allow_unicode=True), 422)
    assert f"twice_share: composite: `{SHARE}` is a composite itself" in refused["detail"]


async def test_what_did_not_fit_before_can_be_repaired(operator: Operator) -> None:
    later = datetime.now(ZONE).date() + timedelta(days=5)
    orphan = {name: LOW_SCORES[name] for name in ("name_en", "name_zh", "process", "phase", "class", "unit", "better", "owner")}
    orphan |= {"dimensions": ["region"], "granularity": "month", "composite": "2 * that_went"}
    async with operator.pool.acquire() as connection:
        for id_ in ("first", "second"):
            await saved_entries.insert(connection, id_, 1, {**orphan, "id": id_}, later, None, "mei", "a release took the part")
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "has nothing to do with it"})
    for id_ in ("first", "second"):
        await operator.ask("POST", f"/v1/indicators/{id_}/retirement", 200, json={"reason": "x"}, headers={"If-Match": '"1"'})


async def test_a_formula_that_was_left_out_for_a_time_begins_anew(operator: Operator) -> None:
    processor = LiveProcessor(operator.other)
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    await operator.count(processor, processor.decode(ratings(1)))
    column = next(iter({name for topic, name in operator.other.now.catalogue.counted_columns if topic == "evaluations"}))
    async with operator.pool.acquire() as connection:
        every = operator.other.now.catalogue.counted_columns
        await counted_store.note(connection, every - {("evaluations", column)})
        assert (await counted_store.read(connection))["evaluations", column] is None
        await counted_store.note(connection, every)
        since = (await counted_store.read(connection))["evaluations", column]
    assert since is not None


async def test_a_composite_of_what_a_file_changes_is_tried_too(operator: Operator) -> None:
    [shipped] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == "complaints_registered"]
    changed = {**shipped, "version": 2, "filter": "type = 'complaint.registered.v1' AND channel = 'web'"}
    tried = await try_file(operator, yaml.safe_dump({"indicators": [changed]}, allow_unicode=True))
    ids = [item["indicator_id"] for item in tried["items"]]
    assert "complaints_registered" in ids
    assert len(ids) > 1


async def test_what_would_not_fit_on_a_later_day_cannot_be_saved(operator: Operator) -> None:
    later = (datetime.now(ZONE) + timedelta(days=10)).date().isoformat()
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    twice = {name: LOW_SCORES[name] for name in ("name_zh", "process", "phase", "class", "unit", "better", "owner", "dimensions")}
    twice |= {"id": "twice_very_low", "name_en": "Twice", "granularity": "month", "composite": "2 * very_low_scores"}
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": twice | {"valid_from": later}, "reason": "from then on"})
    path = "/v1/indicators/very_low_scores/retirement"
    refused = await operator.ask("POST", path, 422, json={"reason": "trial over"}, headers={"If-Match": '"1"'})
    assert "twice_very_low: composite: `very_low_scores` is no indicator's id" in refused["detail"]
    assert f"(from {later} on)" in refused["detail"]


async def test_an_entry_with_a_version_for_later_is_changed_by_its_etag_and_says_which_never_comes(operator: Operator) -> None:
    later = (datetime.now(ZONE) + timedelta(days=10)).date().isoformat()
    path = "/v1/indicators/very_low_scores"
    await operator.ask("POST", "/v1/indicators", 201, json={"entry": LOW_SCORES, "reason": "trial"})
    body = {"entry": LOW_SCORES | {"valid_from": later, "target": 2}, "reason": "next year"}
    saved = await operator.ask("PUT", path, 200, json=body, headers={"If-Match": '"1"'})
    assert saved["never_in_force"] == []
    token = {"Authorization": f"Bearer {operator.issuer.mint('manager', 'mei')}"}
    shown = await operator.client.get(path, headers=token)
    assert (shown.json()["version"], shown.headers["ETag"]) == (1, '"2"')
    now = {"entry": LOW_SCORES | {"target": 3}, "reason": "at once"}
    saved = await operator.ask("PUT", path, 200, json=now, headers={"If-Match": shown.headers["ETag"]})
    assert (saved["version"], saved["never_in_force"]) == (3, [2])


async def test_a_file_in_another_form_is_refused(operator: Operator) -> None:
    refused = await operator.ask("POST", "/v1/indicators/dry-run", 415, json={"indicators": []})
    assert "application/yaml" in refused["detail"]


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
