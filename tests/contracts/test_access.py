"""Who asks comes first, on every route of every service: before what is asked for is read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from closedloop.common.auth.access import Router
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.ingest.express import Front
from closedloop.ingest.main import build as build_ingest
from closedloop.ingest.settings import IngestSettings
from closedloop.kpi.main import build as build_kpi
from closedloop.kpi.settings import KpiSettings
from closedloop.local.addresses import SERVICES
from closedloop.local.issuer import Issuer
from closedloop.recovery.main import build as build_recovery
from closedloop.recovery.settings import RecoverySettings
from closedloop.ticketing.main import build as build_ticketing
from closedloop.ticketing.settings import TicketingSettings
from kpi.shipped import WRITTEN

OPEN = {"/livez", "/readyz", "/metrics"}
GARBAGE = b'{"customer_id": \xff'
UNREADABLE: tuple[dict[str, str], ...] = (
    {"Content-Type": "application/json"},
    {"Content-Type": "application/json", "Content-Encoding": "gzip", "If-Match": "?", "Idempotency-Key": "x" * 200},
    {"Content-Type": "application/cloudevents+json"},
    {"Content-Type": "text/plain"},
    {},
)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def apps(issuer: Issuer) -> dict[str, FastAPI]:
    """Every service, put together but not started: nobody without a scope gets as far as Kafka or PostgreSQL."""
    known = issuer.environment()
    auth = AuthSettings(issuer=known["AUTH_ISSUER"], jwks_url=known["AUTH_JWKS_URL"])
    kafka, operator = KafkaSettings(), OperatorSettings()
    return {
        "ingest": build_ingest(IngestSettings(), kafka, auth),
        "kpi": build_kpi(KpiSettings(), kafka, auth, operator, WRITTEN),
        "ticketing": build_ticketing(TicketingSettings(), kafka, auth, operator),
        "recovery": build_recovery(RecoverySettings(), kafka, auth),
    }


def served(service: str, app: FastAPI) -> ASGIApp:
    return Front(app, app.state.express) if service == "ingest" else app


def secured_routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, a path whose parameters are none) of each route that is no health route."""
    for template, operations in app.openapi()["paths"].items():
        if template not in OPEN:
            for method in operations:
                yield method.upper(), re.sub(r"\{\w+\}", "%00", template) + "?limit=none&at=never&cursor=%FF"


@pytest.mark.parametrize("service", SERVICES)
async def test_who_asks_comes_before_what_is_asked(apps: dict[str, FastAPI], issuer: Issuer, service: str) -> None:
    app = apps[service]
    # neither has any scope of the service
    other = issuer.mint("analyst" if service == "ingest" else "producer")
    asked = 0
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(served(service, app)), base_url="http://test") as client:
        for method, path in secured_routes(app):
            for headers in UNREADABLE:
                for token, expected in ((None, 401), ("Bearer forged", 401), (f"Bearer {other}", 403)):
                    sent: dict[str, Any] = headers | ({"Authorization": token} if token else {})
                    answer = await client.request(method, path, content=GARBAGE, headers=sent)
                    assert answer.status_code == expected, (method, path, headers, answer.text)
                    assert answer.headers["content-type"] == "application/problem+json"
                    asked += 1
    assert asked >= 60


def test_every_service_is_asked_and_no_route_is_left_out(apps: dict[str, FastAPI]) -> None:
    assert set(apps) == set(SERVICES) == {folder.name for folder in Path("services").iterdir() if folder.is_dir()}
    assert {service: len(list(secured_routes(app))) for service, app in apps.items()} == {
        "ingest": 5,
        "kpi": 35,
        "ticketing": 11,
        "recovery": 11,
    }


def test_a_route_that_names_no_scope_cannot_be_made() -> None:
    router: APIRouter = Router()
    with pytest.raises(TypeError, match="/v1/open: a route needs one scope"):

        @router.get("/v1/open")
        async def forgotten() -> None: ...
