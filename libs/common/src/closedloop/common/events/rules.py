"""What a well-formed event must say beyond its types: codes, times, scales. Pure; every service applies the same."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from closedloop.common.events.model import (
    ComplaintRegisteredData,
    CustomerData,
    EvaluationData,
    Event,
    InputEvent,
    OrderStatusChangedData,
)

CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
TOPIC_PATH: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}\Z")
IDENTIFIER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}\Z")
E164: Final = re.compile(r"\+[1-9][0-9]{6,14}\Z")
RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD: Final = timedelta(minutes=5)
MAX_EVENT_BYTES: Final = 262_144
"""The largest event that is taken, envelope included."""
DEFAULT_SCALE: Final = (1.0, 10.0)
CODE_FIELDS: Final = ("region", "product", "process", "channel")
ID_FIELDS: Final = ("customer_id", "contact_id", "agent_id", "order_id", "complaint_id", "campaign_id", "enquiry_id")


class Refused(ValueError):
    """An event that cannot be taken. `field` is a path such as `data.score`; the text never repeats the payload's personal data."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def parse_time(text: str, field: str = "time") -> datetime:
    """RFC 3339 text with an offset → aware datetime in UTC. Raises Refused."""
    if not RFC3339.match(text):
        hint = "needs an offset, such as 2026-11-20T08:00:00+08:00" if len(text) >= 10 else "is not a time"
        raise Refused(field, f"{hint} (RFC 3339)")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(field, "is not a time that exists (RFC 3339)") from None


def check_time(at: datetime, received_at: datetime) -> None:
    """Event time must be from 2000 on and at most 5 min after the time of receipt (the record's append time)."""
    if at < EARLIEST:
        raise Refused("time", "is before 2000-01-01; check the producer's clock")
    if at > received_at + MAX_AHEAD:
        raise Refused("time", "is more than 5 min ahead of the time of receipt; check the producer's clock and offset")


_known_codes: set[str] = set()
_KNOWN_CODES_MAX: Final = 100_000


def check_code(value: str, field: str) -> None:
    """A code such as a region. Those seen before are remembered: few codes, many events."""
    if value in _known_codes:
        return
    if not CODE.match(value):
        raise Refused(field, "must match [A-Za-z0-9_.-]{1,64}")
    if len(_known_codes) < _KNOWN_CODES_MAX:
        _known_codes.add(value)


def check_identifier(value: str, field: str) -> None:
    """An id: 1 to 256 characters, no control characters."""
    if not (value.isascii() and value.isprintable() and 0 < len(value) <= 256) and not IDENTIFIER.match(value):
        raise Refused(field, "must be 1 to 256 characters without control characters")


def scale_of(data: EvaluationData) -> tuple[float, float]:
    """The rating's scale as (lowest, highest)."""
    low = DEFAULT_SCALE[0] if data.scale_min is None else data.scale_min
    high = DEFAULT_SCALE[1] if data.scale_max is None else data.scale_max
    return low, high


def is_dissatisfied(data: EvaluationData, threshold: float = 0.5) -> bool:
    """`satisfied` is false; or, without it, the score's place on its scale, 0 (worst) to 1, is below `threshold`."""
    if data.satisfied is not None:
        return not data.satisfied
    if data.score is None:
        return False
    low, high = scale_of(data)
    return (data.score - low) / (high - low) < threshold


def _check_evaluation(data: EvaluationData) -> None:
    if data.score is None:
        if data.satisfied is None:
            raise Refused("data.score", "is missing; send `score` or `satisfied`")
        return
    low, high = scale_of(data)
    if not low < high:
        raise Refused("data.scale_max", "must be above scale_min")
    if not low <= data.score <= high:
        raise Refused("data.score", f"must be on its scale, {low:g} to {high:g}; send scale_min and scale_max with another one")


def _check_customer(data: CustomerData) -> None:
    check_identifier(data.customer_id, "data.customer_id")
    check_code(data.region, "data.region")
    if data.product is not None:
        check_code(data.product, "data.product")
    if data.process is not None:
        check_code(data.process, "data.process")
    if data.channel is not None:
        check_code(data.channel, "data.channel")
    if data.phone is not None and not E164.match(data.phone):
        raise Refused("data.phone", "must be E.164, such as +8613800138000")


def _other_identifiers(data: CustomerData) -> Iterator[tuple[str, str]]:
    for name in ID_FIELDS[1:]:
        value = getattr(data, name, None)
        if value is not None:
            yield f"data.{name}", value


def check_input(event: InputEvent) -> None:
    """All rules of an input event except its time's distance from receipt. Raises Refused naming the field."""
    check_identifier(event.id, "id")
    check_identifier(event.source, "source")
    data = event.data
    _check_customer(data)
    if type(data) is EvaluationData:
        _check_evaluation(data)
    elif type(data) is OrderStatusChangedData:
        check_code(data.order_type, "data.order_type")
        if data.step is not None:
            check_code(data.step, "data.step")
        if data.duration_s is not None and data.duration_s < 0:
            raise Refused("data.duration_s", "must not be negative (seconds)")
        if data.expected_by is not None:
            parse_time(data.expected_by, "data.expected_by")
    elif type(data) is ComplaintRegisteredData and data.severity is not None and not 1 <= data.severity <= 4:
        raise Refused("data.severity", "must be 1 (worst) to 4")
    topic_path = getattr(data, "topic_path", None)
    if topic_path is not None and not TOPIC_PATH.match(topic_path):
        raise Refused("data.topic_path", "must be 1 to 200 characters without control characters")
    for field, value in _other_identifiers(data):
        check_identifier(value, field)


def occurred_at(event: Event) -> datetime:
    """The event's time as an aware datetime in UTC. Raises Refused."""
    return parse_time(event.time)
