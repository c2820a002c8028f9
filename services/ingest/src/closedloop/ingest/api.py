"""The routes of ingest: who may send, how much, in which form; and the same routes as they stand in OpenAPI."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter
from starlette.types import Receive

from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import EVENTS_WRITE
from closedloop.common.auth.tokens import Authenticator
from closedloop.common.events.rules import Refused
from closedloop.common.http.problems import BadRequest, TooManyRequests
from closedloop.common.telemetry.tracing import Spanning
from closedloop.ingest.answers import answer
from closedloop.ingest.bodies import Bodies
from closedloop.ingest.domain import wrapping
from closedloop.ingest.domain.acceptance import Read, read_structured, reads_binary, reads_objects
from closedloop.ingest.domain.media import Media, binary_attributes, media_of
from closedloop.ingest.domain.rate import Rates
from closedloop.ingest.domain.splitting import split_array, split_lines, split_one_or_many
from closedloop.ingest.domain.wrapping import Kind, own_name
from closedloop.ingest.express import Answer, DirectRoute, Handler, Headers
from closedloop.ingest.intake import Intake
from closedloop.ingest.problems import Unsupported
from closedloop.ingest.schemas import EVENTS_DOCS, docs_of

EVENTS: Final = "/v1/events"
OBJECTS: Final[dict[str, Kind]] = {
    "/v1/evaluations": wrapping.EVALUATIONS,
    "/v1/complaints": wrapping.COMPLAINT_EVENTS,
    "/v1/enquiries": wrapping.ENQUIRIES,
    "/v1/orders": wrapping.ORDERS,
}


class Doors:
    """The handlers of the hot routes. Each raises StatusProblem."""

    def __init__(self, authenticator: Authenticator, rates: Rates, bodies: Bodies, intake: Intake) -> None:
        self._authenticator = authenticator
        self._rates = rates
        self._bodies = bodies
        self._intake = intake

    def handlers(self) -> dict[str, Handler]:
        """By path."""
        return {EVENTS: self.events, **{path: self._objects(kind) for path, kind in OBJECTS.items()}}

    async def events(self, headers: Headers, receive: Receive, traceparent: bytes | None) -> Answer:
        """CloudEvents over HTTP: structured, batched, binary."""
        principal = await self._admit(headers)
        media = media_of(headers.get(b"content-type", b""))
        with self._bodies.body() as held:
            read: Read = read_structured
            attributes: dict[str, str] | None = None
            if media not in (Media.STRUCTURED, Media.BATCH):
                attributes = _attributes(headers, media)
                read = reads_binary(attributes)
            body = await held.read(receive, headers.get(b"content-encoding"))
            items = _split(split_array, body) if media is Media.BATCH else [body]
            with _sending(traceparent) as onward:
                carried = None if onward is None else onward.encode()
                return await self._take(items, media is not Media.BATCH, body, read, str, principal, carried)

    def _objects(self, kind: Kind) -> Handler:
        async def objects(headers: Headers, receive: Receive, traceparent: bytes | None) -> Answer:
            """Bare objects: one, a JSON array, NDJSON."""
            principal = await self._admit(headers)
            media = media_of(headers.get(b"content-type", b""))
            if media not in (Media.JSON, Media.NDJSON):
                raise Unsupported("Content-Type: must be application/json (an object or an array) or application/x-ndjson, UTF-8.")
            with self._bodies.body() as held:
                body = await held.read(receive, headers.get(b"content-encoding"))
                items, many = (split_lines(body), True) if media is Media.NDJSON else _split(split_one_or_many, body)
                now = datetime.now(UTC)
                with _sending(traceparent) as onward:
                    read = reads_objects(kind, principal.client, now, onward)
                    return await self._take(items, not many, body, read, own_name, principal, None)

        return objects

    async def _admit(self, headers: Headers) -> Principal:
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        principal = self._authenticator.remembered(authorization) or await self._authenticator.authenticate(authorization)
        principal.check_scope(EVENTS_WRITE)
        wait = self._rates.wait(principal.client, time.monotonic())
        if wait > 0:
            raise TooManyRequests(
                f"The client {principal.client} has sent more events than its rate allows; nothing of this request was written.",
                math.ceil(wait),
            )
        self._bodies.check_declared(headers.get(b"content-length"))
        return principal

    async def _take(
        self,
        items: list[bytes],
        alone: bool,
        body: bytes,
        read: Read,
        named: Callable[[str], str],
        principal: Principal,
        traceparent: bytes | None,
    ) -> Answer:
        if not body:
            raise BadRequest("The body is empty.")
        self._rates.charge(principal.client, len(items), time.monotonic())
        return answer(await self._intake.take(items, read, principal, traceparent), named, alone)


def _sending(traceparent: bytes | None) -> AbstractContextManager[str | None]:
    """From the check of a request's events to Kafka's acknowledgement. What enters the block is what their records carry."""
    return nullcontext() if traceparent is None else Spanning("send", "PRODUCER", traceparent.decode())


def _attributes(headers: Headers, media: Media | None) -> dict[str, str]:
    if b"ce-specversion" not in headers:
        raise Unsupported(
            "Content-Type: must be application/cloudevents+json (one event) or application/cloudevents-batch+json (an array), "
            "UTF-8; or application/json with the attributes in ce-* headers."
        )
    if media is not Media.JSON:
        raise Unsupported("Content-Type: the data of a binary-mode event must be application/json, UTF-8.")
    try:
        return binary_attributes(headers)
    except Refused as refused:
        raise BadRequest(str(refused), field=refused.field) from None


def _split(split: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return split(body)
    except Refused as refused:
        raise BadRequest(f"The body {refused.problem}.") from None


def openapi_routes() -> APIRouter:
    """The hot routes for OpenAPI; their POST is answered by `Express`."""
    router = APIRouter(tags=["events"], route_class=DirectRoute)

    async def answered_by_express() -> None:
        """`DirectRoute.handle` answers instead."""

    for path, docs in ((EVENTS, EVENTS_DOCS), *((path, docs_of(path)) for path in OBJECTS)):
        router.add_api_route(path, answered_by_express, methods=["POST"], status_code=202, name=path.rpartition("/")[2], **docs)
    return router
