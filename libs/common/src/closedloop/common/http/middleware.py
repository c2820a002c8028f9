"""Around every route: request id, trace context, body limit, metrics, headers. Pure ASGI: BaseHTTPMiddleware leaks on cancel."""

import secrets
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from closedloop.common.http.problems import PROBLEM_JSON, TooLarge, problem_body
from closedloop.common.telemetry import metrics, trace

MAX_BODY_BYTES: Final = 1_048_576
_UNROUTED: Final = "(none)"


class Surroundings:
    """What every request of a service gets."""

    def __init__(self, app: ASGIApp, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = time.perf_counter()
        request_id = headers.get("x-request-id", "")[:64] or secrets.token_hex(8)
        traceparent = trace.continue_or_start(headers.get("traceparent"))
        trace.current.set(traceparent)
        structlog.contextvars.bind_contextvars(request_id=request_id, traceparent=traceparent)
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out["traceparent"] = traceparent
                out["X-Content-Type-Options"] = "nosniff"
                out.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if _declared_length(headers) > self._max_body_bytes:
                await self._refuse(send_with_headers)
            else:
                await self._app(scope, _limited(receive, self._max_body_bytes), send_with_headers)
        except _BodyTooLargeError:
            await self._refuse(send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", _UNROUTED)
            metrics.HTTP_REQUESTS.labels(scope["method"], route, str(status)).inc()
            metrics.HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id", "traceparent")

    async def _refuse(self, send: Send) -> None:
        problem = TooLarge(f"The body is larger than {self._max_body_bytes} bytes; send less at once.")
        body = problem_body(problem)
        await send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})


class _BodyTooLargeError(Exception):
    pass


def _declared_length(headers: Headers) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdigit() else 0


def _limited(receive: Receive, limit: int) -> Receive:
    got = 0

    async def receive_counted() -> Message:
        nonlocal got
        message = await receive()
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > limit:
                raise _BodyTooLargeError
        return message

    return receive_counted
