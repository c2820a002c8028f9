"""The FastAPI app that every service has: problems, auth, health, metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.middleware import MAX_BODY_BYTES, Surroundings
from closedloop.common.http.problems import install_problems
from closedloop.common.telemetry import metrics

READY_TIMEOUT_S: Final = 3.0


@dataclass
class Health:
    """What /livez and /readyz ask. A readiness check answers None, or in a few words what is wrong.

    `notes` are said in /readyz, too, but do not make it fail: requests can be served all the same.
    """

    alive: list[Callable[[], bool]] = field(default_factory=list)
    ready: dict[str, Callable[[], Awaitable[str | None]]] = field(default_factory=dict)
    notes: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    stopping: bool = False

    async def problems(self) -> dict[str, str]:
        """Each part that is not ready, with the reason."""
        if self.stopping:
            return {"service": "stopping"}
        found: dict[str, str] = {}
        for part, check in self.ready.items():
            try:
                reason = await asyncio.wait_for(check(), READY_TIMEOUT_S)
            except Exception as error:
                reason = f"does not answer ({type(error).__name__})"
            if reason:
                found[part] = reason
        return found


def create_app(
    service: str,
    summary: str,
    *,
    authenticator: Authenticator,
    health: Health,
    routers: Sequence[APIRouter],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]],
    max_body_bytes: int = MAX_BODY_BYTES,
) -> FastAPI:
    """An app with the service's routers, and /docs, /openapi.json, /livez, /readyz, /metrics, which need no token."""
    app = FastAPI(title=f"Closed Loop {service}", summary=summary, version="1", lifespan=lifespan, redoc_url=None)
    app.state.authenticator = authenticator
    app.state.health = health
    install_problems(app)
    app.add_middleware(Surroundings, max_body_bytes=max_body_bytes)
    app.include_router(_health_routes(health))
    for router in routers:
        app.include_router(router)
    return app


def _health_routes(health: Health) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="Should this process go on?")
    async def livez() -> JSONResponse:
        alive = all(check() for check in health.alive)
        return JSONResponse({"alive": alive}, 200 if alive else 503)

    @router.get("/readyz", summary="Can it serve requests now, and if not, why? Also what else is amiss")
    async def readyz() -> JSONResponse:
        problems = await health.problems()
        notes = {part: said for part, note in health.notes.items() if (said := note()) is not None}
        return JSONResponse({"ready": not problems, "problems": problems, "notes": notes}, 503 if problems else 200)

    @router.get("/metrics", summary="For Prometheus", response_class=Response)
    async def scrape() -> Response:
        problems = await health.problems()
        for part in health.ready:
            metrics.READY.labels(part).set(not health.stopping and part not in problems)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
