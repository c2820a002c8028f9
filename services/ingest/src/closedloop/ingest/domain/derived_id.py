"""The id of an event that came without one: derived from what it says, so that a retry is the same event."""

import hashlib
from typing import Any, Final

import msgspec

from closedloop.common.events.model import (
    ComplaintClosedData,
    ComplaintEscalatedData,
    ComplaintRegisteredData,
    CustomerData,
    EvaluationData,
    OrderStatusChangedData,
)
from closedloop.common.events.rules import Refused, parse_time

DIGEST_BYTES: Final = 16
NEEDS_TIME: Final = "is missing; without it a retry could not be told from a new event: send `occurred_at`, or an `id`"


def derived_id(event_type: str, data: CustomerData, occurred_at: str | None, stripped: bytes) -> str:
    """A short text that depends only on the parts that make the event this event.

    A complaint: complaint_id (and level). An order: order_id, status, step, occurred_at. An evaluation of a contact: contact_id
    and kind. Anything else: the whole object and its time; `stripped` is the object's JSON without the envelope's fields (order
    of keys and white space do not matter). Raises Refused where the event's time is needed and absent.
    """
    match data:
        case ComplaintEscalatedData():
            return _digest([event_type, data.complaint_id, None if data.level is None else str(data.level)])
        case ComplaintRegisteredData() | ComplaintClosedData():
            return _digest([event_type, data.complaint_id])
        case EvaluationData() if data.contact_id is not None:
            return _digest([event_type, data.contact_id, data.kind])
        case OrderStatusChangedData():
            return _digest([event_type, data.order_id, data.status, data.step, _instant(occurred_at)])
        case _:
            return _digest([event_type, _instant(occurred_at), msgspec.json.decode(stripped)])


def _instant(occurred_at: str | None) -> str:
    # as an instant: one export may write +08:00 and the next one Z
    if occurred_at is None:
        raise Refused("occurred_at", NEEDS_TIME)
    return parse_time(occurred_at, "occurred_at").isoformat()


def _digest(parts: list[Any]) -> str:
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ
    canonical = msgspec.json.encode(parts, order="deterministic")
    return "d-" + hashlib.blake2b(canonical, digest_size=DIGEST_BYTES).hexdigest()
