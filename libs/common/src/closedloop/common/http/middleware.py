"""Around every route: request id, trace context, body limit, metrics, headers. Pure ASGI: BaseHTTPMiddleware leaks on cancel."""

import secrets
import time
from typing import Final

import structlog
from rfc9457 import Problem
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from closedloop.common.http.problems import PROBLEM_JSON, TooLarge, problem_body, unexpected
from closedloop.common.telemetry import metrics, trace, tracing

log = structlog.get_logger()
MAX_BODY_BYTES: Final = 1_048_576
_UNROUTED: Final = "(none)"
_OUTAGE: Final = 503
_UNTRACED: Final = frozenset({"/livez", "/readyz", "/metrics"})


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
        incoming = headers.get("traceparent")
        span = None if scope["path"] in _UNTRACED else tracing.serving(scope["method"], incoming)
        traceparent = trace.continue_or_start(incoming) if span is None else span.traceparent
        trace.current.set(traceparent)
        structlog.contextvars.bind_contextvars(request_id=request_id, traceparent=traceparent)
        answer = _Answer(send, {"X-Request-ID": request_id, "traceparent": traceparent, "X-Content-Type-Options": "nosniff"})
        body = _Body(receive, self._max_body_bytes)

        async def send_unless_cut(message: Message) -> None:
            # a route takes the cut body for a malformed one; 413 says what it was
            if answer.status is not None or not body.too_large:
                await answer.send(message)

        try:
            if _declared_length(headers) > self._max_body_bytes:
                body.too_large = True
            else:
                await self._answered(scope, body, answer, send_unless_cut)
            if body.too_large and answer.status is None:
                await answer.problem(TooLarge(f"The body is larger than {self._max_body_bytes} bytes; send less at once."))
        finally:
            route = getattr(scope.get("route"), "path", _UNROUTED)
            metrics.HTTP_REQUESTS.labels(scope["method"], route, str(answer.status or 500)).inc()
            metrics.HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)
            if span is not None:
                span.answered(scope["method"], route, answer.status or 500)
            structlog.contextvars.unbind_contextvars("request_id", "traceparent")

    async def _answered(self, scope: Scope, body: "_Body", answer: "_Answer", send: Send) -> None:
        """What a route did not expect is answered here and not further out, where the answer would have no request id."""
        try:
            await self._app(scope, body.receive, send)
        except Exception as error:
            if answer.status is not None:
                raise
            if body.too_large:
                return
            problem = unexpected(error)
            if problem.status != _OUTAGE:
                log.error("request failed", exc_info=error)
            else:
                log.warning("request met an outage", error=type(error).__name__)
            await answer.problem(problem)


class _Answer:
    """Sends with the headers that every answer has. `status` is None until it has begun."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            out = MutableHeaders(scope=message)
            out.update(self._headers)
            out.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        content = problem_body(problem)
        headers = {"content-type": PROBLEM_JSON, "content-length": str(len(content)), **(problem.headers or {})}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": content})


class _BodyTooLargeError(Exception):
    pass


class _Body:
    """The request's body up to a limit. `too_large` tells that it went over."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self.too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.too_large = True
                raise _BodyTooLargeError
        return message


def _declared_length(headers: Headers) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdigit() else 0
