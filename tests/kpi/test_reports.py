"""A month's report from draft to publication, on the real store: what people add, what stays as it was, what is restated."""

import contextlib
import hashlib
import io
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import openpyxl
import pytest
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.postgres.pool import create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi.assembly import Assembler
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.reports import api
from closedloop.kpi.settings import KpiSettings
from closedloop.local.issuer import Issuer
from kpi.counting import Engine
from kpi.records import batch, encoded, envelope, rating, record
from kpi.shipped import SHIPPED, WRITTEN

SHANGHAI = ZoneInfo("Asia/Shanghai")
SHARE = "dissatisfied_share"  # lower is better, target 10 %, warning from 15 %
INDICATORS = {SHARE, "sms_ratings", "mean_satisfaction_score"}


async def no_frontier(_: str) -> datetime | None:
    return None


class Office:
    """Quality managers at the routes, over an engine that counts."""

    def __init__(self, client: httpx2.AsyncClient, issuer: Issuer, engine: Engine) -> None:
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
        self, method: str, path: str, status: int, *, role: str = "manager", regions: tuple[str, ...] = ("*",), **more: Any
    ) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._issuer.mint(role, 'mei', regions)}"} | more.pop("headers", {})
        answer = await self._client.request(method, path, headers=headers, **more)
        assert answer.status_code == status, answer.text
        return answer

    async def figure(self, month: str, indicator_id: str = SHARE) -> dict[str, Any]:
        report = (await self.ask("GET", f"/v1/reports/{month}", 200)).json()
        return next(f for section in report["sections"] for f in section["figures"] if f["indicator_id"] == indicator_id)

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

    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=[api.router], lifespan=lifespan)
    files = [(place, entry) for place, entry in WRITTEN if isinstance(entry, dict) and entry["id"] in INDICATORS]
    assembler = Assembler(pool, no_frontier, CatalogueHistory(files), KpiSettings(), SHANGHAI, lambda: None)
    app.state.reports = assembler.assemble(engine.catalogue).reports
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kpi") as client:
        yield Office(client, issuer, engine)
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
    assert figure["drill"] == f"/v1/indicators/{SHARE}/value?window=month&at=2026-10-31T16:00:00Z"


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
    assert [(r["month"], r["now"]["numerator"]) for r in november["restated"] if r["indicator_id"] == SHARE] == [("2026-10", 15.0)]

    again = await office.ask("POST", "/v1/reports/2026-10/publication", 409, json={}, headers={"If-Match": '"1"'})
    assert "stays as it is" in again.json()["detail"]
    comment = await office.ask("POST", "/v1/reports/2026-10/comments", 409, json={"indicator_id": SHARE, "text": "late"})
    assert "restatement" in comment.json()["detail"]
    with pytest.raises(asyncpg.CheckViolationError, match="is published"):
        await office.engine.pool.execute("UPDATE report SET note = 'x' WHERE month = '2026-10'")
    with pytest.raises(asyncpg.CheckViolationError, match="is published"):
        await office.engine.pool.execute("DELETE FROM report")


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
    await office.publish("2026-10")

    figure = await office.figure("2026-10")
    assert [(c["by"], c["text"]) for c in figure["comments"]] == [("mei", "=SUM(A1) is no excuse: <b>queue</b> too long")]
    page = (await office.ask("GET", "/v1/reports/2026-10?format=html", 200)).text
    assert "&lt;b&gt;queue&lt;/b&gt;" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']https?:", page)
    book = openpyxl.load_workbook(io.BytesIO((await office.ask("GET", "/v1/reports/2026-10?format=xlsx", 200)).content))
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
    book = openpyxl.load_workbook(io.BytesIO((await office.ask("GET", "/v1/reports/2026-09?format=xlsx", 200)).content))
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
