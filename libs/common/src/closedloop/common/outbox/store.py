"""The outbox: what a service says stands in the same transaction as what it did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from closedloop.common.events.model import AnyEvent, OwnEvent
from closedloop.common.events.rules import MAX_EVENT_BYTES
from closedloop.common.events.topics import TOPIC_OF_TYPE
from closedloop.common.postgres.pool import Connection
from closedloop.common.telemetry import trace, tracing

OUTBOX_DDL: Final = """
CREATE TABLE outbox (
    seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text        NOT NULL UNIQUE,   -- the CloudEvents id
    topic       text        NOT NULL,
    key         text        NOT NULL,
    payload     bytea       NOT NULL,          -- the structured CloudEvent as it is published
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event to be published once its transaction is committed. `key` orders: events of one key leave in order of writing."""

    key: str
    event: OwnEvent


def own_event(
    cls: type[Any], *, id: str, source: str, at: datetime, subject: str, sequence: int, data: Any, cause: AnyEvent | None = None
) -> Any:
    """A service's own event. `id` must derive from the fact it states, so that saying it again is the same event.

    `sequence` is the version of the aggregate (`subject`), taken under its row's lock: readers can order by it. The event belongs
    to the trace of `cause`, the event that it follows from, or of the request that is being answered.
    """
    incoming = cause.traceparent if cause is not None else trace.current.get()
    return cls(
        specversion="1.0",
        id=id,
        source=source,
        time=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        subject=subject,
        datacontenttype="application/json",
        sequence=str(sequence),
        traceparent=tracing.created(TOPIC_OF_TYPE[cls].name, incoming) if incoming else None,
        data=data,
    )


async def put(connection: Connection, outgoing: Sequence[Outgoing]) -> None:
    """Write the messages in the open transaction. Each aggregate's row must be locked by it: that keeps the order per key.

    Raises ValueError for one that is too large for an event: it would block all behind it.
    """
    if not outgoing:
        return
    payloads = [_encode(o.event) for o in outgoing]
    for o, payload in zip(outgoing, payloads, strict=True):
        if len(payload) > MAX_EVENT_BYTES:
            raise ValueError(f"{type(o.event).__name__} {o.event.id} is {len(payload)} bytes; the limit is {MAX_EVENT_BYTES}")
    await connection.execute(
        """INSERT INTO outbox (id, topic, key, payload)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) ON CONFLICT (id) DO NOTHING""",
        [o.event.id for o in outgoing],
        [TOPIC_OF_TYPE[type(o.event)].name for o in outgoing],
        [o.key for o in outgoing],
        payloads,
    )
