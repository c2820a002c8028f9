"""Whatever a client sends that fits the published OpenAPI document, or nearly fits it, is answered as the document says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import ALL_SCOPES
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.postgres.pool import create_pool
from closedloop.common.settings import AuthSettings
from closedloop.ticketing.api import router
from closedloop.ticketing.service import Tickets


class AnyoneIsAdmin(Authenticator):
    """No token needed: what is tried here comes after the token."""

    async def authenticate(self, authorization: str | None) -> Principal:
        return Principal("ann", "console", ALL_SCOPES, None)


@pytest.fixture
def app(ticketing_url: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await create_pool(ticketing_url, "ticketing")
        app.state.tickets = Tickets(pool, lambda: None)
        yield
        await asyncio.wait_for(pool.close(), 5)

    return create_app(
        "ticketing",
        "",
        authenticator=AnyoneIsAdmin(AuthSettings()),
        health=Health(),
        routers=[router],
        lifespan=lifespan,
    )


def test_no_request_makes_it_fail(app: FastAPI) -> None:
    tried = []
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        assert isinstance(found, Ok), found
        if found.ok().path.startswith("/v1/"):
            tried.append(found.ok())
    assert len(tried) == 10

    statuses: set[int] = set()

    for operation in tried:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            derandomize=True,
            database=None,
        )
        def answers(case: schemathesis.Case[Any]) -> None:
            response = case.call()
            if response.status_code < 300:
                case.validate_response(response, checks=[response_schema_conformance])
            else:
                case.validate_response(response, checks=[not_a_server_error])
                assert response.headers["content-type"] == ["application/problem+json"]
            statuses.add(response.status_code)

        answers()

    assert {200, 404, 422, 428} <= statuses
