"""A client of kpi's routes over a counting engine, without a server or Kafka."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.settings import AuthSettings
from closedloop.kpi import api, backtest_api, chart_api, measurements_api, states_api
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.charts import Charts
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.states import States
from closedloop.kpi.values import Values
from closedloop.local.issuer import Issuer
from kpi.counting import Engine
from kpi.records import batch, encoded, envelope, rating, record


class Desk:
    """A client of the routes over an engine."""

    def __init__(self, app: FastAPI, client: httpx2.AsyncClient, issuer: Issuer, engine: Engine) -> None:
        self.app = app
        self._client = client
        self._issuer = issuer
        self._engine = engine
        self._offset = 0

    async def rate(self, *ratings: tuple[datetime, dict[str, Any]]) -> None:
        """Evaluations at these times."""
        await self.happen("evaluations", "evaluation.submitted.v1", *((at, rating(**data)) for at, data in ratings))

    async def happen(self, topic: str, type_: str, *events: tuple[datetime, dict[str, Any]]) -> None:
        """Events of one type at these times."""
        records = []
        for at, data in events:
            self._offset += 1
            value = encoded(envelope(data, type_, id=f"e-{self._offset}", time=at.isoformat()))
            records.append(record(value, topic, offset=self._offset))
        rejected = await self._engine.take(batch(records))
        assert not rejected

    def headers(self, role: str, regions: tuple[str, ...], subject: str = "ann") -> dict[str, str]:
        """A token."""
        return {"Authorization": f"Bearer {self._issuer.mint(role, subject, regions)}"}

    async def get(
        self,
        path: str,
        status: int = 200,
        *,
        regions: tuple[str, ...] = ("*",),
        role: str = "analyst",
        query: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Any:
        """The JSON answer. `query`: parameters that Python cannot name (`from`) or that a test has as a mapping. Without any the
        path may have its own."""
        answer = await self._client.get(path, params={**(query or {}), **params} or None, headers=self.headers(role, regions))
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(
        self, path: str, body: Any, status: int = 200, *, version: int | None = None, regions: tuple[str, ...] = ("*",)
    ) -> Any:
        """Do something as a manager. The JSON answer."""
        headers = self.headers("manager", regions) | ({} if version is None else {"If-Match": f'"{version}"'})
        answer = await self._client.post(path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def text(self, path: str) -> str:
        """The answer as text."""
        answer = await self._client.get(path, headers=self.headers("manager", ("*",)))
        assert answer.status_code == 200, answer.text
        return answer.content.decode()

    async def report(
        self,
        indicator_id: str,
        body: Any,
        status: int = 201,
        *,
        regions: tuple[str, ...] = ("*",),
        role: str = "manager",
        subject: str = "ann",
        key: str | None = None,
        **params: Any,
    ) -> Any:
        """Report figures: a text is CSV, all else is JSON; where it does not say how they were got, they were counted by hand. The
        JSON answer."""
        headers = self.headers(role, regions, subject) | ({"Idempotency-Key": key} if key else {})
        url = f"/v1/indicators/{indicator_id}/measurements"
        if isinstance(body, str | bytes):
            content = body.encode() if isinstance(body, str) else body
            answer = await self._client.post(url, content=content, headers=headers | {"Content-Type": "text/csv"}, params=params)
        else:
            rows = body if isinstance(body, list) else [body]
            how = [{"method": "by hand", **row} if isinstance(row, dict) and "file" not in row else row for row in rows]
            answer = await self._client.post(url, json=how if isinstance(body, list) else how[0], headers=headers, params=params)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def desk_over(engine: Engine, folder: Path) -> AsyncIterator[Desk]:
    """The routes over the engine's catalogue and database."""
    issuer = Issuer(folder / "issuer")
    environment = issuer.environment()
    auth = AuthSettings(issuer=environment["AUTH_ISSUER"], jwks_url=environment["AUTH_JWKS_URL"])

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    routers = [api.router, backtest_api.router, chart_api.router, measurements_api.router, states_api.router]
    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=routers, lifespan=lifespan)
    zone = ZoneInfo("Asia/Shanghai")
    app.state.catalogue = engine.catalogue
    app.state.zone = zone

    async def latest_version(indicator_id: str) -> int:
        known = engine.catalogue.get(indicator_id)
        return 0 if known is None else known.version

    app.state.latest_version = latest_version
    app.state.measurements = Measurements(engine.pool, zone)
    events, reported = EventValues(engine.reader, engine.catalogue, zone), ReportedValues(app.state.measurements, zone)
    app.state.values = Values(events, reported, engine.catalogue)
    app.state.states = States(engine.pool, engine.catalogue)
    app.state.backtests = Backtests(engine.pool, engine.reader, app.state.values, zone)
    app.state.charts = Charts(engine.reader, zone)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kpi") as client:
        yield Desk(app, client, issuer, engine)
