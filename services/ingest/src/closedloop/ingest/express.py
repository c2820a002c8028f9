"""The hot routes: plain ASGI in front of FastAPI's router, the same to the outside as any other route of a service.

FastAPI and the shared middleware cost 60 µs a request and more; here a request costs a tenth. Outside of these routes' POST, and
for all of OpenAPI, FastAPI stays in charge (`api.py`).
"""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from fastapi.routing import APIRoute
from prometheus_client import Counter, Histogram
from rfc9457 import StatusProblem
from starlette.types import ASGIApp, Receive, Scope, Send

from closedloop.common.http.problems import PROBLEM_JSON, Internal, problem_body
from closedloop.common.telemetry import metrics, tracing
from closedloop.common.telemetry.trace import TRACEPARENT
from closedloop.ingest.problems import Disconnected

log = structlog.get_logger()
Headers = Mapping[bytes, bytes]
Answer = tuple[int, bytes]
Handler = Callable[[Headers, Receive, bytes | None], Awaitable[Answer]]
"""(headers, receive, the traceparent to hand on where the client sent one) → status and JSON."""

_PROBLEM: Final = PROBLEM_JSON.encode()
_random = random.SystemRandom().randbytes(8)
_ids: Final = random.Random(_random)  # noqa: S311 (names of requests and spans, no secrets)


class DirectRoute(APIRoute):
    """A route that stands in OpenAPI like any other, and whose POST goes to the service's `Express`."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Where `Front` did not see it first: behind a root path, or where the app runs without it."""
        if scope["method"] != "POST":
            await super().handle(scope, receive, send)
            return
        express: Express = scope["app"].state.express
        await express.handle(self.path, scope, receive, send)


class Express:
    """Answers the hot routes' POST requests. Handlers raise StatusProblem."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self.paths = frozenset(handlers)
        self._requests: dict[tuple[str, int], Counter] = {}
        self._seconds: dict[str, Histogram] = {path: metrics.HTTP_SECONDS.labels(path) for path in handlers}

    async def handle(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: what `Surroundings` does for the other routes, and the handler."""
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        span = b"%016x" % _ids.getrandbits(64)
        incoming = headers.get(b"traceparent")
        handed_on: bytes | None = None
        traced: tracing.Span | None = None
        if tracing.is_on():
            traced = tracing.serving("POST", None if incoming is None else incoming.decode("latin-1"))
        if traced is not None:
            traceparent = traced.traceparent.encode()
            handed_on = traceparent if traced.is_sampled or incoming is not None else None
        elif incoming is not None and TRACEPARENT.match(incoming.decode("latin-1")):
            traceparent = handed_on = b"%b%b%b" % (incoming[:36], span, incoming[52:])
        else:
            traceparent = b"00-%032x-%b-00" % (_ids.getrandbits(128), span)
        request_id = headers.get(b"x-request-id", b"")[:64] or span
        more: list[tuple[bytes, bytes]] = []
        content_type = b"application/json"
        try:
            status, body = await self._handlers[path](headers, receive, handed_on)
            if status >= 400:
                content_type = _PROBLEM
        except StatusProblem as problem:
            status, body, content_type = problem.status, problem_body(problem), _PROBLEM
            more = [(name.lower().encode(), value.encode()) for name, value in (problem.headers or {}).items()]
        except Disconnected:
            self._count(path, 499, started, traced)
            return
        except Exception:
            log.exception("a request failed", route=path, request_id=request_id.decode("latin-1"))
            status, body, content_type = Internal.status, problem_body(Internal()), _PROBLEM
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type),
                    (b"content-length", b"%d" % len(body)),
                    (b"x-request-id", request_id),
                    (b"traceparent", traceparent),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                    *more,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})
        self._count(path, status, started, traced)

    def _count(self, path: str, status: int, started: float, traced: tracing.Span | None) -> None:
        requests = self._requests.get((path, status))
        if requests is None:
            requests = self._requests[path, status] = metrics.HTTP_REQUESTS.labels("POST", path, str(status))
        requests.inc()
        self._seconds[path].observe(time.perf_counter() - started)
        if traced is not None:
            traced.answered("POST", path, status)


class Front:
    """The ASGI application: hands the hot routes to `Express`, all else to FastAPI."""

    def __init__(self, app: ASGIApp, express: Express) -> None:
        self._app = app
        self._express = express

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] in self._express.paths and scope["method"] == "POST":
            await self._express.handle(scope["path"], scope, receive, send)
        else:
            await self._app(scope, receive, send)
