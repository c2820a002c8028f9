"""A month's report from draft to publication, on the real store: what people add, what stays as it was, what is restated."""

import contextlib
import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import msgspec
import openpyxl
import pytest
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.postgres.pool import create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi import api as indicators_api
from closedloop.kpi import measurements_api, saved_entries, statement_store
from closedloop.kpi.assembly import Assembler
from closedloop.kpi.catalogue_files import catalogue_of
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.statement import Series, period_statement_of, statement_of, withdrawal_of
from closedloop.kpi.domain.states import Evidence, Standing, Transition
from closedloop.kpi.domain.windows import minute_of
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reports import api
from closedloop.kpi.settings import KpiSettings
from closedloop.local.issuer import Issuer
from kpi.counting import Engine
from kpi.records import batch, encoded, envelope, rating, record
from kpi.shipped import SHIPPED, WRITTEN

SHANGHAI = ZoneInfo("Asia/Shanghai")
SHARE = "dissatisfied_share"  # lower is better, target 10 %, warning from 15 %
DELIVERY = "suspension_sms_delivery_rate"  # reported
LAUNCHES = "broadband_launch_test_pass_share"  # reported for quarters
INDICATORS = {SHARE, "sms_ratings", "mean_satisfaction_score", DELIVERY, LAUNCHES}
ROUTERS = [api.router, indicators_api.router, measurements_api.router]


async def no_frontier(_: str) -> datetime | None:
    return None


def workbook_of(content: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl on sparklines, which it drops
        return openpyxl.load_workbook(io.BytesIO(content))


class Office:
    """Quality managers at the routes, over an engine that counts."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        issuer: Issuer,
        engine: Engine,
        app: FastAPI,
        assembler: Assembler,
        files: list[tuple[str, object]],
    ) -> None:
        self.app = app
        self.assembler = assembler
        self.files = files
        self._client = client
        self._issuer = issuer
        self.engine = engine
        self._offset = 0

    async def rate(self, day: str, region: str, satisfied: int, dissatisfied: int) -> None:
        """So many ratings at noon of an operator's day."""
        at = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=SHANGHAI).isoformat()
        records = []
        for n in range(satisfied + dissatisfied):
            self._offset += 1
            data = rating(region=region, score=9 if n < satisfied else 1)
            records.append(record(encoded(envelope(data, id=f"e-{self._offset}", time=at)), offset=self._offset))
        await self.engine.take(batch(records))

    async def ask(
        self,
        method: str,
        path: str,
        status: int,
        *,
        role: str = "manager",
        regions: tuple[str, ...] = ("*",),
        units: tuple[str, ...] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        token = self._issuer.mint(role, "mei", regions, units=units)
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        answer = await self._client.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer

    async def figure(self, month: str, indicator_id: str = SHARE) -> dict[str, Any]:
        report = (await self.ask("GET", f"/v1/reports/{month}", 200)).json()
        return next(f for section in report["sections"] for f in section["figures"] if f["indicator_id"] == indicator_id)

    async def workbook(self, path: str) -> Any:
        return workbook_of((await self.ask("GET", f"{path}?format=xlsx", 200)).content)

    async def publish(self, month: str, status: int = 200, **body: Any) -> httpx2.Response:
        state = await self.ask("GET", f"/v1/reports/{month}/state", 200)
        return await self.ask(
            "POST", f"/v1/reports/{month}/publication", status, json=body, headers={"If-Match": state.headers["ETag"]}
        )


@pytest.fixture
async def office(kpi_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    pool = await create_pool(kpi_url, "kpi")
    shipped = SHIPPED
    engine = Engine(pool, Catalogue(one for one in shipped.indicators if one.id in INDICATORS))
    issuer = Issuer(tmp_path / "issuer")
    environment = issuer.environment()
    auth = AuthSettings(issuer=environment["AUTH_ISSUER"], jwks_url=environment["AUTH_JWKS_URL"])

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=ROUTERS, lifespan=lifespan)
    files: list[tuple[str, object]] = [
        (place, entry) for place, entry in WRITTEN if isinstance(entry, dict) and entry["id"] in INDICATORS
    ]
    assembler = Assembler(pool, no_frontier, CatalogueHistory(files), KpiSettings(), SHANGHAI, lambda: None)
    assembly = assembler.assemble(engine.catalogue)
    app.state.reports, app.state.values, app.state.catalogue = assembly.reports, assembly.values, assembly.catalogue
    app.state.zone, app.state.measurements = SHANGHAI, Measurements(pool, SHANGHAI)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kpi") as client:
        yield Office(client, issuer, engine, app, assembler, files)
    await pool.close()


async def test_a_draft_compares_a_month_with_the_last_and_with_last_years(office: Office) -> None:
    await office.rate("2025-10-20", "NJ", 180, 20)
    await office.rate("2026-09-30", "NJ", 150, 50)
    await office.rate("2026-10-01", "NJ", 90, 10)
    await office.rate("2026-10-31", "SZ", 20, 80)
    await office.rate("2026-11-01", "SZ", 0, 90)
    await office.rate("2026-10-09", "HK", 0, 3)  # of which too little is known to be a worst region
    figure = await office.figure("2026-10")
    assert figure["amount"] == {"value": pytest.approx(9300 / 203), "numerator": 93.0, "denominator": 203.0, "sample": 203}
    assert (figure["month_on_month"], figure["year_on_year"]) == (pytest.approx(9300 / 203 - 25), pytest.approx(9300 / 203 - 10))
    assert [point["month"] for point in figure["trend"]][:: len(figure["trend"]) - 1] == ["2025-10", "2026-10"]
    assert [(unit["region"], unit["amount"]["value"]) for unit in figure["worst_units"]] == [
        ("SZ", 80.0),
        ("NJ", 10.0),
    ]  # of HK too little is known
    assert (figure["judgement"], figure["short_since"]) == ("warning", "2026-10")
    assert figure["drill"] == f"/v1/reports/2026-10/figures/{SHARE}"


async def test_what_is_published_stays_the_same_bytes_and_later_data_is_restated_item_by_item(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 95, 5)
    head = (await office.publish("2026-10", because="no owner had to comment")).json()
    assert (head["state"], head["published_by"]) == ("published", "mei")
    forms = {form: await office.ask("GET", f"/v1/reports/2026-10?format={form}", 200) for form in ("json", "html", "xlsx")}
    assert hashlib.sha256(forms["json"].content).hexdigest() == head["sha256"]
    assert (await office.ask("GET", "/v1/reports/2026-10/restatement", 200)).json()["items"] == []

    await office.rate("2026-10-05", "NJ", 0, 10)
    for form, before in forms.items():
        now = await office.ask("GET", f"/v1/reports/2026-10?format={form}", 200)
        assert now.content == before.content
        assert now.headers["ETag"] == before.headers["ETag"]
        assert now.headers["Repr-Digest"] == before.headers["Repr-Digest"]
    restated = (await office.ask("GET", "/v1/reports/2026-10/restatement", 200)).json()
    assert (restated["sha256"], restated["is_counted"]) == (head["sha256"], True)
    item = next(item for item in restated["items"] if item["indicator_id"] == SHARE)
    assert item["published"] == {"value": 5.0, "numerator": 5.0, "denominator": 100.0, "sample": 100}
    assert item["now"] == {"value": pytest.approx(1500 / 110), "numerator": 15.0, "denominator": 110.0, "sample": 110}
    # the next report says so, too
    november = (await office.ask("GET", "/v1/reports/2026-11", 200)).json()
    assert [(r["month"], r["region"], r["now"]["numerator"]) for r in november["restated"] if r["indicator_id"] == SHARE] == [
        ("2026-10", None, 15.0),
        ("2026-10", "NJ", 15.0),
    ]

    again = await office.ask("POST", "/v1/reports/2026-10/publication", 409, json={}, headers={"If-Match": '"1"'})
    assert "stays as it is" in again.json()["detail"]
    comment = await office.ask("POST", "/v1/reports/2026-10/comments", 409, json={"indicator_id": SHARE, "text": "late"})
    assert "restatement" in comment.json()["detail"]
    with pytest.raises(asyncpg.CheckViolationError, match="is published"):
        await office.engine.pool.execute("UPDATE report SET note = 'x' WHERE month = '2026-10'")
    with pytest.raises(asyncpg.CheckViolationError, match="is published"):
        await office.engine.pool.execute("DELETE FROM report")


async def test_every_figure_can_be_drilled_into_its_numerator_denominator_and_events(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 90, 10)
    await office.rate("2026-10-06", "SZ", 20, 30)
    figure = await office.figure("2026-10")
    answer = (await office.ask("GET", figure["drill"], 200)).json()
    [whole] = answer["groups"]
    assert {name: whole[name] for name in ("value", "numerator", "denominator", "sample")} == figure["amount"]
    assert (answer["numerator"], answer["denominator"], answer["published"]) == ("dissatisfied", "1", None)
    assert (answer["begin"], answer["end"]) == ("2026-09-30T16:00:00Z", "2026-10-31T16:00:00Z")
    groups = (await office.ask("GET", f"{figure['drill']}?group_by=region", 200)).json()["groups"]
    assert [(g["group"]["region"], g["numerator"], g["denominator"], g["sample"]) for g in groups] == [
        ("NJ", 10, 100, 100),
        ("SZ", 30, 50, 50),
    ]
    await office.publish("2026-10", because="first report")
    await office.rate("2026-10-06", "SZ", 50, 0)
    later = (await office.ask("GET", figure["drill"], 200)).json()
    assert (later["published"], later["groups"][0]["sample"]) == (figure["amount"], 200)
    refused = await office.ask("GET", f"{figure['drill']}?group_by=colour", 422)
    assert "'colour' is no dimension of dissatisfied_share" in refused.json()["detail"]
    await office.ask("GET", "/v1/reports/2026-10/figures/none", 404)
    nothing = (await office.ask("GET", f"/v1/reports/2026-08/figures/{SHARE}?group_by=region,channel&group_by=region", 200)).json()
    assert (nothing["groups"], nothing["begin"]) == ([], "2026-07-31T16:00:00Z")


async def test_a_month_is_drilled_and_commented_by_its_own_entries_whatever_was_changed_since(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 50, 50)
    began = date(2026, 11, 1)
    [entry] = [entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE]
    changed = {**entry, "numerator": "score <= 1", "owner": "hotline"}
    async with office.engine.pool.acquire() as connection:
        await saved_entries.insert(connection, SHARE, 2, changed, began, None, "mei", "only the worst")
        await saved_entries.insert(connection, "sms_ratings", 2, None, began, None, "mei", "nobody rates by SMS")
    files = CatalogueHistory(office.files)
    async with office.engine.pool.acquire() as connection:
        office.app.state.reports = office.assembler.assemble(catalogue_of(await files.entries(connection, began))).reports
    drilled = (await office.ask("GET", f"/v1/reports/2026-10/figures/{SHARE}", 200)).json()
    assert (drilled["version"], drilled["numerator"], drilled["groups"][0]["numerator"]) == (1, "dissatisfied", 50)
    assert (await office.ask("GET", f"/v1/reports/2026-11/figures/{SHARE}", 200)).json()["version"] == 2
    said = {"indicator_id": SHARE, "text": "queue too long"}
    await office.ask("POST", "/v1/reports/2026-10/comments", 403, json=said, units=("hotline",))  # whose it is only since
    await office.ask("POST", "/v1/reports/2026-10/comments", 201, json=said, units=("customer_service",))
    await office.ask("POST", "/v1/reports/2026-10/comments", 201, json={"indicator_id": "sms_ratings", "text": "it ended"})
    gone = await office.ask("POST", "/v1/reports/2026-11/comments", 422, json={"indicator_id": "sms_ratings", "text": "x"})
    assert "in 2026-11" in gone.json()["detail"]


async def test_a_region_that_was_named_is_restated_although_the_whole_is_not(office: Office) -> None:
    async def report(region: str | None, numerator: float, **more: str) -> None:
        row: dict[str, Any] = {"period": "2026-10", "numerator": numerator, "denominator": 100, "file": "oct.xlsx", **more}
        row |= {} if region is None else {"region": region}
        await office.ask("POST", f"/v1/indicators/{DELIVERY}/measurements", 201, json=row)

    await report(None, 96)
    await report("NJ", 90)
    await report("SZ", 99)
    await office.publish("2026-10", because="first report")
    await report("NJ", 80, reason="a gateway was left out")
    items = (await office.ask("GET", "/v1/reports/2026-10/restatement", 200)).json()["items"]
    [item] = [item for item in items if item["indicator_id"] == DELIVERY]
    assert (item["region"], item["published"]["value"], item["now"]["value"]) == ("NJ", 90, 80)
    assert [report["reason"] for report in item["reports"]] == ["a gateway was left out"]


async def test_a_quarters_figure_stands_in_the_months_until_the_next(office: Office) -> None:
    row = {"period": "2026-Q3", "numerator": 90, "denominator": 100, "file": "q3.xlsx"}
    await office.ask("POST", f"/v1/indicators/{LAUNCHES}/measurements", 201, json=row)
    for month in ("2026-09", "2026-10", "2026-11"):
        figure = await office.figure(month, LAUNCHES)
        assert (figure["amount"]["value"], figure["judgement"]) == (90, "short"), month
    assert (await office.figure("2026-08", LAUNCHES))["judgement"] == "no_data"
    drilled = (await office.ask("GET", f"/v1/reports/2026-10/figures/{LAUNCHES}", 200)).json()
    assert (drilled["begin"], drilled["end"]) == ("2026-06-30T16:00:00Z", "2026-09-30T16:00:00Z")
    await office.publish("2026-10", because="first report")
    row |= {"numerator": 99, "reason": "two cases were counted twice"}
    await office.ask("POST", f"/v1/indicators/{LAUNCHES}/measurements", 201, json=row)
    [item] = (await office.ask("GET", "/v1/reports/2026-10/restatement", 200)).json()["items"]
    assert [(report["period"], report["reason"]) for report in item["reports"]] == [("2026-Q3", "two cases were counted twice")]


async def test_a_restatement_says_why_late_events_or_who_reported_what_for_which_reason(office: Office) -> None:
    async def report(numerator: float, **more: str) -> None:
        row = {"period": "2026-10", "numerator": numerator, "denominator": 100, "file": "oct.xlsx", **more}
        await office.ask("POST", f"/v1/indicators/{DELIVERY}/measurements", 201, json=row)

    await office.rate("2026-10-05", "NJ", 95, 5)
    await report(97)
    await report(96, reason="before publication")
    await office.publish("2026-10", because="first report")
    await office.rate("2026-10-05", "NJ", 0, 10)
    await report(80, reason="SMS centre 2 was left out")
    items = {i["indicator_id"]: i for i in (await office.ask("GET", "/v1/reports/2026-10/restatement", 200)).json()["items"]}
    assert (items[SHARE]["events"], items[SHARE]["reports"]) == (10, [])
    assert items[DELIVERY]["events"] is None
    [why] = items[DELIVERY]["reports"]
    assert (why["period"], why["dimensions"], why["reason"], why["by"]) == ("2026-10", {}, "SMS centre 2 was left out", "mei")
    page = (await office.ask("GET", "/v1/reports/2026-11?format=html", 200)).text
    assert "10 more events" in page
    assert f"{DELIVERY} 2026-10: SMS centre 2 was left out (mei" in page
    book = await office.workbook("/v1/reports/2026-11")
    assert "10 more events" in [row[9] for row in book["Restated"].values]


async def test_a_breach_of_the_month_stands_in_every_form(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 10, 90)
    at = minute_of(datetime(2026, 10, 5, 12, 1, tzinfo=SHANGHAI))
    indicator = SHIPPED.counted(SHARE)
    assert indicator is not None and indicator.threshold is not None
    evidence = Evidence(90.0, 90, 100, 100)
    begun, over = Transition(at, 0, 2, "critical", evidence), Transition(at + 60, 2, 0, "no data", evidence)
    statements = [statement_of(indicator, indicator.threshold, {"region": "NJ"}, moved) for moved in (begun, over)]
    async with office.engine.pool.acquire() as connection:
        await statement_store.write_history(connection, statements)
    [breach] = (await office.figure("2026-10"))["breaches"]
    assert (breach["series"], breach["level"], breach["value"]) == (f"{SHARE}?region=NJ", "critical", 90)
    assert datetime.fromisoformat(breach["ended"]) == datetime(2026, 10, 5, 13, 1, tzinfo=SHANGHAI)
    page = (await office.ask("GET", "/v1/reports/2026-10?format=html", 200)).text
    assert f"{SHARE}?region=NJ: critical, 90 against 40, from 10-05 12:01 to 10-05 13:01" in page
    book = await office.workbook("/v1/reports/2026-10")
    _, row = book["Breaches"].values
    assert row == (SHARE, f"{SHARE}?region=NJ", "critical", 90, 40, "2026-10-05 12:01", "2026-10-05 13:01")
    assert (await office.figure("2026-11"))["breaches"] == []


async def test_each_time_at_a_level_stands_in_the_month_in_which_it_held(office: Office) -> None:
    indicator = SHIPPED.counted(SHARE)
    assert indicator is not None and indicator.threshold is not None
    evidence = Evidence(50.0, 50, 100, 100)
    last_hour = minute_of(datetime(2026, 10, 31, 22, tzinfo=SHANGHAI))
    steps = ((0, 0, 1), (60, 1, 2), (180, 2, 1), (240, 1, 0))  # warning, critical, over midnight back to warning, ok
    told = [
        statement_of(
            indicator, indicator.threshold, {"region": "NJ"}, Transition(last_hour + after, before, rank, "warning", evidence)
        )
        for after, before, rank in steps
    ]
    share = SHIPPED.get(DELIVERY)
    assert share is not None
    november, december = (minute_of(datetime(2026, month, 5, tzinfo=SHANGHAI)) for month in (11, 12))
    ends = [minute_of(datetime(2026, month, 1, tzinfo=SHANGHAI)) for month in (11, 12)]
    # October's figure came on November 5th, and was bad; November's on December 5th, and was fine
    for judged, until, before, rank in ((november, ends[0], 0, 1), (december, ends[1], 1, 0)):
        moved = Transition(judged, before, rank, "warning", replace(evidence, until=until))
        told.append(period_statement_of(share, "month", SHANGHAI, {}, moved))
    # the score's level was taken back on November 20th, when October's figure stood badly
    score = SHIPPED.get("mean_satisfaction_score")
    assert score is not None
    bad = period_statement_of(
        replace(share, id=score.id), "month", SHANGHAI, {}, Transition(november, 0, 1, "warning", replace(evidence, until=ends[0]))
    )
    series = Series(score.id, {}, november, Standing("warning", november, 1), msgspec.to_builtins(bad.data))
    told += [bad, withdrawal_of(series, minute_of(datetime(2026, 11, 20, tzinfo=SHANGHAI)))]
    async with office.engine.pool.acquire() as connection:
        await statement_store.write_history(connection, told)

    def times(figure: dict[str, Any]) -> list[tuple[str, str, str]]:
        def clock(text: str) -> str:
            return datetime.fromisoformat(text).astimezone(SHANGHAI).strftime("%m-%d %H:%M")

        return [(breach["level"], clock(breach["began"]), clock(breach["ended"])) for breach in figure["breaches"]]

    assert times(await office.figure("2026-10")) == [
        ("warning", "10-31 22:00", "10-31 23:00"),
        ("critical", "10-31 23:00", "11-01 01:00"),
    ]
    assert times(await office.figure("2026-11")) == [
        ("critical", "10-31 23:00", "11-01 01:00"),
        ("warning", "11-01 01:00", "11-01 02:00"),
    ]
    assert times(await office.figure("2026-10", DELIVERY)) == [("warning", "10-01 00:00", "11-01 00:00")]
    assert (await office.figure("2026-11", DELIVERY))["breaches"] == []
    for month in ("2026-10", "2026-11"):
        assert times(await office.figure(month, score.id)) == [("warning", "10-01 00:00", "11-20 00:00")], month


async def test_the_workbook_shows_pictures_beside_its_tables(office: Office) -> None:
    await office.rate("2026-09-05", "NJ", 90, 10)
    await office.rate("2026-10-05", "NJ", 10, 90)
    content = (await office.ask("GET", "/v1/reports/2026-10?format=xlsx", 200)).content
    book = workbook_of(content)
    head, *rows = book["Overview"].values
    judged = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    assert judged["Customer service"]["critical"] == 0
    assert judged["Customer service"]["warning"] == 2  # the mean score too
    [chart] = book["Overview"]._charts
    assert len(chart.series) == len(head) - 1
    # openpyxl drops sparklines, so look into the file: each figure has one, over its row of the months
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        figures = parts.read("xl/worksheets/sheet2.xml").decode()
    drawn = dict(zip(re.findall(r"<xm:sqref>(\w+)<", figures), re.findall(r"<xm:f>([^<]+)<", figures), strict=True))
    months = [row[0] for row in book["Months"].values]
    ids = [row[1] for row in book["Figures 2026-10"].values]
    place, its_months = ids.index(SHARE) + 1, months.index(SHARE) + 1
    assert drawn[f"S{place}"] == f"Months!C{its_months}:O{its_months}"
    assert len(drawn) == len(INDICATORS)


async def test_events_that_are_kept_no_longer_restate_nothing(office: Office) -> None:
    await office.rate("2025-08-05", "NJ", 95, 5)
    await office.publish("2025-08", because="first report")
    await office.engine.pool.execute("DELETE FROM segment")  # as compaction does after KPI_RETENTION_DAYS
    restated = (await office.ask("GET", "/v1/reports/2025-08/restatement", 200)).json()
    assert (restated["items"], restated["is_counted"]) == ([], False)


async def test_a_month_of_a_few_events_shows_its_value_and_is_not_judged(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 5, 5)
    figure = await office.figure("2026-10")
    assert (figure["amount"]["value"], figure["judgement"], figure["short_since"]) == (50.0, "too_few", None)
    assert "too few to judge" in (await office.ask("GET", "/v1/reports/2026-10?format=html", 200)).text


async def test_a_report_waits_for_the_owners_comments_on_what_falls_short(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 50, 50)
    state = (await office.ask("GET", "/v1/reports/2026-10/state", 200)).json()
    assert state["state"] == "draft"
    assert SHARE in state["uncommented"]
    refused = (await office.publish("2026-10", 409)).json()
    assert SHARE in refused["uncommented"]

    stale = await office.ask("GET", "/v1/reports/2026-10/state", 200)
    for indicator_id in state["uncommented"]:
        body = {"indicator_id": indicator_id, "text": "=SUM(A1) is no excuse: <b>queue</b> too long"}
        answer = await office.ask("POST", "/v1/reports/2026-10/comments", 201, json=body, headers={"Idempotency-Key": indicator_id})
        repeated = await office.ask(
            "POST", "/v1/reports/2026-10/comments", 201, json=body, headers={"Idempotency-Key": indicator_id}
        )
        assert repeated.json() == answer.json()
    await office.ask("POST", "/v1/reports/2026-10/publication", 412, json={}, headers={"If-Match": stale.headers["ETag"]})
    await office.ask("POST", "/v1/reports/2026-10/publication", 428, json={})
    assert (await office.ask("GET", "/v1/reports/2026-10/state", 200)).json()["state"] == "commented"
    assert (await office.ask("GET", "/v1/reports", 200)).json()["items"][0]["state"] == "commented"
    await office.publish("2026-10")

    figure = await office.figure("2026-10")
    assert [(c["by"], c["text"]) for c in figure["comments"]] == [("mei", "=SUM(A1) is no excuse: <b>queue</b> too long")]
    page = (await office.ask("GET", "/v1/reports/2026-10?format=html", 200)).text
    assert "&lt;b&gt;queue&lt;/b&gt;" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']https?:", page)
    book = await office.workbook("/v1/reports/2026-10")
    assert "'=SUM(A1) is no excuse: <b>queue</b> too long" in [row[3] for row in book["Comments"].values]
    [row] = [row for row in book["Figures 2026-10"].values if row[1] == SHARE]
    assert row[10:14] == (50, 50, 100, 100)


async def test_a_shortcoming_is_followed_with_its_measures_until_it_is_gone(office: Office) -> None:
    await office.rate("2026-08-05", "NJ", 50, 50)
    await office.rate("2026-09-05", "NJ", 60, 40)
    await office.rate("2026-10-05", "NJ", 100, 0)
    await office.publish("2026-08", because="first report")
    measure = (
        await office.ask(
            "POST",
            "/v1/improvements",
            201,
            json={"indicator_id": SHARE, "text": "second line until 22:00", "owner": "hotline", "due": "2026-10-01"},
        )
    ).json()
    path = f"/v1/improvements/{measure['id']}/progress"
    step = {"percent": 40, "text": "staff found"}
    moved = await office.ask("POST", path, 200, json=step, headers={"If-Match": '"1"'})
    await office.ask("POST", path, 412, json=step, headers={"If-Match": '"1"'})
    await office.ask(
        "POST", path, 200, json={"percent": 100, "state": "done", "text": "runs"}, headers={"If-Match": moved.headers["ETag"]}
    )
    closed = await office.ask("POST", path, 409, json=step, headers={"If-Match": '"3"'})
    assert "is done" in closed.json()["detail"]

    september = await office.figure("2026-09")
    assert (september["judgement"], september["short_since"]) == ("warning", "2026-08")
    [shown] = september["measures"]
    assert (shown["text"], shown["owner"], shown["state"]) == ("second line until 22:00", "hotline", "done")
    assert [(step["percent"], step["text"]) for step in shown["progress"]] == [(40, "staff found"), (100, "runs")]
    page = (await office.ask("GET", "/v1/reports/2026-09?format=html", 200)).text
    assert all(text in page for text in ("second line until 22:00", "100", "runs", "2026-10-01"))
    book = await office.workbook("/v1/reports/2026-09")
    assert any("second line until 22:00" in row for sheet in book for row in sheet.values)
    [listed] = (await office.ask("GET", "/v1/improvements?state=done", 200)).json()["items"]
    assert (listed["id"], listed["version"]) == (measure["id"], 3)
    await office.publish("2026-09", because="owners on leave")
    october = await office.figure("2026-10")
    assert (october["judgement"], october["short_since"]) == ("ok", None)
    await office.publish("2026-10", because="owners on leave")
    assert [row["gone"] for row in await office.engine.pool.fetch("SELECT * FROM shortcoming WHERE indicator_id = $1", SHARE)] == [
        "2026-10"
    ]
    months = [item["month"] for item in (await office.ask("GET", "/v1/reports?limit=2", 200)).json()["items"]]
    assert months == ["2026-10", "2026-09"]


async def test_open_shortcomings_are_listed_with_what_is_done_about_them_and_what_is_late(office: Office) -> None:
    await office.rate("2026-08-05", "NJ", 50, 50)
    await office.rate("2026-09-05", "NJ", 60, 40)
    await office.publish("2026-08", because="first report")

    async def listed(query: str = "") -> Any:
        return (await office.ask("GET", f"/v1/shortcomings{query}", 200)).json()["items"]

    items = {item["indicator_id"]: item for item in await listed("?state=open")}
    found = items[SHARE]
    assert (found["since"], found["gone"], found["owner"], found["needs_measure"]) == ("2026-08", None, "customer_service", True)
    for text, due in (("late", "2026-08-20"), ("in time", "2099-01-01"), ("done", "2026-09-01")):
        body = {"indicator_id": SHARE, "text": text, "owner": "hotline", "due": due}
        measure = (await office.ask("POST", "/v1/improvements", 201, json=body)).json()
        assert (measure["percent"], measure["is_overdue"]) == (0, due < "2026-10")
    step = {"percent": 100, "state": "done", "text": "runs"}
    done = await office.ask("POST", f"/v1/improvements/{measure['id']}/progress", 200, json=step, headers={"If-Match": '"1"'})
    assert (done.json()["percent"], done.json()["is_overdue"]) == (100, False)
    [found] = await listed(f"?indicator_id={SHARE}")
    assert [found[name] for name in ("measures_open", "measures_overdue", "measures_done", "next_due", "needs_measure")] == [
        *(2, 1, 1),
        "2026-08-20",
        False,
    ]
    [late] = (await office.ask("GET", "/v1/improvements?overdue=true&owner=hotline", 200)).json()["items"]
    assert (late["text"], late["is_overdue"]) == ("late", True)
    assert (await office.ask("GET", "/v1/improvements?owner=nobody", 200)).json()["items"] == []
    assert {item["indicator_id"] for item in await listed("?owner=customer_service")} >= {SHARE}
    assert await listed("?owner=nobody") == []
    await office.rate("2026-10-05", "NJ", 100, 0)
    await office.publish("2026-10", because="owners on leave")
    assert SHARE not in {item["indicator_id"] for item in await listed("?state=open")}
    [gone] = await listed(f"?state=gone&indicator_id={SHARE}")
    assert (gone["since"], gone["gone"], gone["needs_measure"]) == ("2026-08", "2026-10", False)
    first = (await office.ask("GET", "/v1/shortcomings?limit=1", 200)).json()
    following = (await office.ask("GET", f"/v1/shortcomings?limit=100&cursor={first['next']}", 200)).json()
    assert [*first["items"], *following["items"]] == await listed()


async def test_a_shortcoming_that_a_later_published_month_had_left_behind_is_not_opened_by_an_earlier_one(office: Office) -> None:
    await office.rate("2026-08-05", "NJ", 50, 50)
    await office.rate("2026-09-05", "NJ", 100, 0)
    await office.publish("2026-09", because="first report")
    await office.publish("2026-08", because="late")
    [found] = (await office.ask("GET", f"/v1/shortcomings?indicator_id={SHARE}", 200)).json()["items"]
    assert (found["since"], found["gone"]) == ("2026-08", "2026-09")


async def test_what_is_not_measured_any_more_falls_short_no_more(office: Office) -> None:
    await office.rate("2026-08-05", "NJ", 50, 50)
    await office.publish("2026-08", because="first report")
    async with office.engine.pool.acquire() as connection:
        await saved_entries.insert(connection, SHARE, 2, None, date(2026, 9, 1), None, "mei", "asked in another way now")
        entries = await CatalogueHistory(office.files).entries(connection, date(2026, 9, 1))
    office.app.state.reports = office.assembler.assemble(catalogue_of(entries)).reports
    await office.publish("2026-09", because="first report")
    [found] = (await office.ask("GET", f"/v1/shortcomings?indicator_id={SHARE}", 200)).json()["items"]
    assert (found["gone"], found["owner"]) == ("2026-09", None)


async def test_a_unit_speaks_for_its_own_indicators_and_only_who_answers_for_all_publishes(office: Office) -> None:
    await office.rate("2026-10-05", "NJ", 50, 50)
    own, others = ("customer_service",), ("it_support", "hotline")
    said = {"indicator_id": SHARE, "text": "two new colleagues"}
    refused = await office.ask("POST", "/v1/reports/2026-10/comments", 403, json=said, units=others)
    assert refused.json()["detail"] == f"{SHARE} is customer_service's; the token speaks for hotline, it_support."
    await office.ask("POST", "/v1/reports/2026-10/comments", 201, json=said, units=own)
    body = {"indicator_id": SHARE, "text": "second line", "owner": "hotline", "due": "2026-12-01"}
    await office.ask("POST", "/v1/improvements", 403, json=body, units=others)
    measure = (await office.ask("POST", "/v1/improvements", 201, json=body, units=own)).json()
    path, step = f"/v1/improvements/{measure['id']}/progress", {"percent": 10, "text": "begun"}
    await office.ask("POST", path, 403, json=step, headers={"If-Match": '"1"'}, units=("it_support",))
    await office.ask("POST", path, 200, json=step, headers={"If-Match": '"1"'}, units=others)  # who carries it out
    await office.ask("POST", path, 200, json=step, headers={"If-Match": '"2"'}, units=own)  # and who answers for it
    refused = await office.ask("POST", "/v1/reports/2026-10/publication", 403, json={}, headers={"If-Match": '"1"'}, units=own)
    assert "Publishing is for who answers for all units" in refused.json()["detail"]
    published = (await office.publish("2026-10", because="the others are on leave")).json()
    assert published["because"] == "the others are on leave"
    assert (await office.ask("GET", "/v1/reports", 200)).json()["items"][0]["because"] == "the others are on leave"


async def test_only_who_may_see_all_regions_sees_a_report(office: Office) -> None:
    refused = await office.ask("GET", "/v1/reports/2026-10", 403, regions=("NJ",))
    assert "all regions" in refused.json()["detail"]
    await office.ask("GET", "/v1/reports/2026-10", 403, role="agent")
    await office.ask("POST", "/v1/reports/2026-10/comments", 403, role="analyst", json={"indicator_id": SHARE, "text": "x"})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/v1/reports/2026-13", None, 422, "month: must be written as 2026-10"),
        ("GET", "/v1/reports/2099-01", None, 422, "has not begun"),
        ("GET", "/v1/reports/2026-10?format=pdf", None, 422, "format"),
        ("GET", "/v1/reports/2026-10/restatement", None, 404, "is not published"),
        ("POST", "/v1/reports/2026-10/comments", {"indicator_id": "none", "text": "x"}, 422, "no indicator has the id"),
        ("POST", "/v1/reports/2026-10/comments", {"indicator_id": SHARE, "text": " "}, 422, "text"),
        ("POST", "/v1/reports/2026-10/comments", {"indicator_id": SHARE, "text": "a\x00b"}, 422, "text"),
        ("POST", "/v1/improvements", {"indicator_id": SHARE, "text": "x", "owner": "y", "due": "soon"}, 422, "due"),
    ],
)
async def test_mistakes_are_named(office: Office, method: str, path: str, body: Any, status: int, said: str) -> None:
    answer = await office.ask(method, path, status, json=body)
    assert said in answer.json()["detail"]


async def test_a_month_that_goes_on_cannot_be_published(office: Office) -> None:
    month = datetime.now(SHANGHAI).strftime("%Y-%m")
    refused = await office.ask("POST", f"/v1/reports/{month}/publication", 409, json={}, headers={"If-Match": '"0"'})
    assert "has not ended" in refused.json()["detail"]
