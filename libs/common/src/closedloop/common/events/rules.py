"""What a well-formed event must say beyond its types: codes, times, scales. Pure; every service applies the same."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any, Final

from closedloop.common.events.model import (
    ComplaintClosedData,
    ComplaintEscalatedData,
    ComplaintRegisteredData,
    CustomerData,
    EnquiryRegisteredData,
    EvaluationData,
    InputEvent,
    OrderStatusChangedData,
)

CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
TOPIC_PATH: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}\Z")
IDENTIFIER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}\Z")
E164: Final = re.compile(r"\+[1-9][0-9]{6,14}\Z")
RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)\Z", re.ASCII)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD: Final = timedelta(minutes=5)
MAX_EVENT_BYTES: Final = 262_144
"""The largest event that is taken, envelope included."""
DEFAULT_SCALE: Final = (1.0, 10.0)
_LOWEST, _HIGHEST = DEFAULT_SCALE
_ID_CHARS: Final = 256
CODE_FIELDS: Final = ("region", "product", "process", "channel")


class Refused(ValueError):
    """An event that cannot be taken. `field` is a path such as `data.score`; the text never repeats the payload's personal data."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def parse_time(text: str, field: str = "time") -> datetime:
    """RFC 3339 text with an offset → aware datetime in UTC. Raises Refused."""
    second = _seconds.get(text[:19])
    if second is not None:
        shift = _shifts.get(text[19:])
        if shift is not None:
            return second + shift
    return _parse_new_time(text, field)


def parse_times(texts: Sequence[str]) -> list[datetime]:
    """`parse_time` of each, in half the time where all are written alike and with one offset, as one producer writes them.

    Aware datetimes, not all in UTC. Raises Refused.
    """
    first = texts[0]
    offset = first[-1:] if first.endswith("Z") else first[-6:]
    digits = "".join(texts).encode("utf-8", "surrogatepass").translate(_ANY_DIGIT)
    alike = digits == first.encode("utf-8", "surrogatepass").translate(_ANY_DIGIT) * len(texts)
    if alike and RFC3339.match(first) and all(map(str.endswith, texts, repeat(offset))):
        try:
            return list(map(datetime.fromisoformat, texts))
        except ValueError:  # one of them does not exist; which one, is said below
            pass
    return [parse_time(text) for text in texts]


_ANY_DIGIT: Final = bytes(ord("0") if chr(octet).isdecimal() else octet for octet in range(256))

# Events of now are of few seconds, and fractions and offsets are few: both are remembered apart, their sum is the time.
_seconds: dict[str, datetime] = {}
_shifts: dict[str, timedelta] = {}
_KNOWN_TIMES_MAX: Final = 20_000
_OFFSET: Final = re.compile(r"(Z|[+-](?P<hours>\d\d):(?P<minutes>\d\d))\Z", re.ASCII)
_NEAR_THE_ENDS: Final = (2, 9998)


def _parse_new_time(text: str, field: str) -> datetime:
    if not RFC3339.match(text):
        raise Refused(field, f"{_ill_written(text)} (RFC 3339)")
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(field, "is not a time that exists (RFC 3339)") from None
    few_shifts = text[19] != "." or text[23:24] in ("Z", "+", "-")  # whole seconds or milliseconds; microseconds hardly recur
    if few_shifts and _NEAR_THE_ENDS[0] < at.year < _NEAR_THE_ENDS[1]:  # beyond, another shift could leave a datetime's range
        for known in (_seconds, _shifts):
            if len(known) >= _KNOWN_TIMES_MAX:
                known.clear()
        second = datetime.fromisoformat(text[:19] + "Z")
        _seconds[text[:19]] = second
        _shifts[text[19:]] = at - second
    return at


def _ill_written(text: str) -> str:
    offset = _OFFSET.search(text)
    if offset is None:
        return "needs an offset, such as 2026-11-20T08:00:00+08:00" if len(text) >= 10 else "is not a time"
    if offset["hours"] is not None and (offset["hours"] > "23" or offset["minutes"] > "59"):
        return "has an offset that does not exist; its hours go from 00 to 23, its minutes from 00 to 59"
    return "must be written as 2026-11-20T08:00:00+08:00"


def check_time(at: datetime, received_at: datetime) -> None:
    """Event time must be from 2000 on and at most 5 min after the time of receipt (the record's append time)."""
    check_time_until(at, received_at + MAX_AHEAD)


def check_time_until(at: datetime, latest: datetime) -> None:
    """`check_time` for many events received at once: `latest` is the time of receipt and `MAX_AHEAD`."""
    if at < EARLIEST:
        raise Refused("time", "is before 2000-01-01; check the producer's clock")
    if at > latest:
        raise Refused("time", "is more than 5 min ahead of the time of receipt; check the producer's clock and offset")


_known_codes: set[str | None] = {None}
_KNOWN_CODES_MAX: Final = 100_000


_known_sources: set[str] = set()
_KNOWN_SOURCES_MAX: Final = 10_000


def check_code(value: str, field: str) -> None:
    """A code such as a region. Those seen before are remembered: few codes, many events."""
    if value in _known_codes:
        return
    if not CODE.match(value):
        raise Refused(field, "must match [A-Za-z0-9_.-]{1,64}")
    if len(_known_codes) < _KNOWN_CODES_MAX:
        _known_codes.add(value)


def are_codes(values: Sequence[str | None]) -> bool:
    """True where all values are absent or codes: few codes, many events."""
    if not _known_codes.issuperset(values):
        try:
            for value in set(values) - _known_codes:
                check_code(value or "", "")
        except Refused:
            return False
    return True


def check_identifier(value: str, field: str) -> None:
    """An id: 1 to 256 characters, no control characters."""
    if not (value.isprintable() and 0 < len(value) <= 256) and not IDENTIFIER.match(value):
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


def _check_rating(data: EvaluationData) -> None:
    if data.score is None:
        if data.satisfied is None:
            raise Refused("data.score", "is missing; send `score` or `satisfied`")
        return
    low, high = scale_of(data)
    if not low < high:
        raise Refused("data.scale_max", "must be above scale_min")
    if not low <= data.score <= high:
        raise Refused("data.score", f"must be on its scale, {low:g} to {high:g}; send scale_min and scale_max with another one")


def _check_optional(value: str | None, field: str) -> None:
    if value is not None:
        check_identifier(value, field)


def _check_topic_path(value: str | None) -> None:
    if value is not None and not TOPIC_PATH.match(value):
        raise Refused("data.topic_path", "must be 1 to 200 characters without control characters")


def _check_evaluation(data: EvaluationData) -> None:
    score = data.score
    if score is None or data.scale_min is not None or data.scale_max is not None or not _LOWEST <= score <= _HIGHEST:
        _check_rating(data)
    if (contact := data.contact_id) is not None and not (contact.isprintable() and 0 < len(contact) <= _ID_CHARS):
        check_identifier(contact, "data.contact_id")
    if (agent := data.agent_id) is not None and not (agent.isprintable() and 0 < len(agent) <= _ID_CHARS):
        check_identifier(agent, "data.agent_id")
    if data.order_id is not None:
        check_identifier(data.order_id, "data.order_id")
    if data.complaint_id is not None:
        check_identifier(data.complaint_id, "data.complaint_id")
    if data.campaign_id is not None:
        check_identifier(data.campaign_id, "data.campaign_id")


def _check_registered(data: ComplaintRegisteredData) -> None:
    if data.severity is not None and not 1 <= data.severity <= 4:
        raise Refused("data.severity", "must be 1 (worst) to 4")
    _check_topic_path(data.topic_path)
    _check_optional(data.order_id, "data.order_id")
    check_identifier(data.complaint_id, "data.complaint_id")
    _check_optional(data.campaign_id, "data.campaign_id")


def _check_complaint(data: ComplaintEscalatedData | ComplaintClosedData) -> None:
    _check_topic_path(data.topic_path)
    check_identifier(data.complaint_id, "data.complaint_id")


def _check_enquiry(data: EnquiryRegisteredData) -> None:
    _check_topic_path(data.topic_path)
    check_identifier(data.enquiry_id, "data.enquiry_id")


def _check_order(data: OrderStatusChangedData) -> None:
    check_code(data.order_type, "data.order_type")
    if data.step is not None:
        check_code(data.step, "data.step")
    if data.duration_s is not None and data.duration_s < 0:
        raise Refused("data.duration_s", "must not be negative (seconds)")
    if data.expected_by is not None:
        parse_time(data.expected_by, "data.expected_by")
    check_identifier(data.order_id, "data.order_id")


# spelled out by type: a loop over field names costs more than all the checks together
_CHECK_OF: Final[dict[type[CustomerData], Callable[[Any], None]]] = {
    EvaluationData: _check_evaluation,
    ComplaintRegisteredData: _check_registered,
    ComplaintEscalatedData: _check_complaint,
    ComplaintClosedData: _check_complaint,
    EnquiryRegisteredData: _check_enquiry,
    OrderStatusChangedData: _check_order,
}


def check_input(event: InputEvent) -> None:
    """All rules of an input event except its time's distance from receipt. Raises Refused naming the field."""
    # the common case is tested in place: a call costs as much as the test
    event_id = event.id
    if not (event_id.isprintable() and 0 < len(event_id) <= _ID_CHARS):
        check_identifier(event_id, "id")
    if event.source not in _known_sources:
        check_identifier(event.source, "source")
        if len(_known_sources) < _KNOWN_SOURCES_MAX:
            _known_sources.add(event.source)
    data = event.data
    customer = data.customer_id
    if not (customer.isprintable() and 0 < len(customer) <= _ID_CHARS):
        check_identifier(customer, "data.customer_id")
    if data.region not in _known_codes:
        check_code(data.region, "data.region")
    if data.product is not None and data.product not in _known_codes:
        check_code(data.product, "data.product")
    if data.process is not None and data.process not in _known_codes:
        check_code(data.process, "data.process")
    if data.channel is not None and data.channel not in _known_codes:
        check_code(data.channel, "data.channel")
    if data.phone is not None and not E164.match(data.phone):
        raise Refused("data.phone", "must be E.164, such as +8613800138000")
    _CHECK_OF[type(data)](data)
