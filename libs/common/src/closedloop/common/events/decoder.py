"""Bytes → event. One decoder for all services: what one counts no other dead-letters."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, cast, get_args

import msgspec

from closedloop.common.events import model
from closedloop.common.events.model import AnyEvent, Event, InputEvent
from closedloop.common.events.rules import (
    MAX_AHEAD,
    MAX_EVENT_BYTES,
    Refused,
    check_identifier,
    check_input,
    check_time_until,
    parse_time,
)
from closedloop.common.events.strict_json import check_strict, is_plainly_strict
from closedloop.common.events.topics import TOPIC_OF_TYPE, TYPE_BY_NAME, data_type

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json"
Headers = Sequence[tuple[str, bytes]]

_event_decoder: Final[msgspec.json.Decoder[AnyEvent]] = msgspec.json.Decoder(AnyEvent)
_data_decoders: Final = {name: msgspec.json.Decoder(data_type(cls)) for name, cls in TYPE_BY_NAME.items()}
_INPUT_TYPES: Final = frozenset(get_args(InputEvent))
_ENVELOPE_ATTRIBUTES: Final = frozenset(Event.__struct_fields__)
_REQUIRED_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "time")
_AT: Final = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


def decode_structured(raw: bytes) -> AnyEvent:
    """The event in a structured-mode CloudEvent. Types and strictness are checked, the rules of `check` are not. Raises Refused."""
    if len(raw) > MAX_EVENT_BYTES:
        raise Refused("", f"is {len(raw)} bytes long; the limit is {MAX_EVENT_BYTES}")
    try:
        event = _event_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of(error, raw) from None
    if not is_plainly_strict(raw, event):
        check_strict(raw)
    return event


def decode_binary(raw: bytes, attributes: dict[str, str]) -> AnyEvent:
    """The event with its envelope in `attributes` (CloudEvents names without prefix) and its data in `raw`. Raises Refused."""
    if len(raw) > MAX_EVENT_BYTES:
        raise Refused("data", f"is {len(raw)} bytes long; the limit is {MAX_EVENT_BYTES}")
    for name in _REQUIRED_ATTRIBUTES:
        if not attributes.get(name):
            raise Refused(name, "is missing")
    if attributes["specversion"] != "1.0":
        raise Refused("specversion", "must be 1.0")
    cls: Any = TYPE_BY_NAME.get(attributes["type"])
    if cls is None:
        raise Refused("type", UNKNOWN_TYPE)
    try:
        data = _data_decoders[attributes["type"]].decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of(error, raw, prefix="data") from None
    if not is_plainly_strict(raw, data):
        check_strict(raw)
    envelope: dict[str, Any] = {name: value for name, value in attributes.items() if name in _ENVELOPE_ATTRIBUTES}
    return cast(AnyEvent, cls(**envelope, data=data))


def decode_record(value: bytes | None, headers: Headers) -> AnyEvent:
    """The event in a Kafka record, structured or binary mode. Raises Refused."""
    if value is None:
        raise Refused("", "is a tombstone (no value); events are never deleted by key")
    attributes = binary_attributes(headers)
    return decode_structured(value) if attributes is None else decode_binary(value, attributes)


def binary_attributes(headers: Headers) -> dict[str, str] | None:
    """The envelope of a binary-mode record (`ce_*` headers), or None where the record is in structured mode."""
    if not any(key == "ce_specversion" for key, _ in headers):
        return None
    try:
        return {key[3:]: value.decode() for key, value in headers if key.startswith("ce_") and value is not None}
    except UnicodeDecodeError:
        raise Refused("ce_*", "headers must be UTF-8") from None


def check(event: AnyEvent, received_at: datetime) -> datetime:
    """All rules beyond types → event time in UTC. `received_at`: the record's append time, or now at ingest. Raises Refused."""
    return check_until(event, received_at + MAX_AHEAD)


def check_until(event: AnyEvent, latest: datetime) -> datetime:
    """`check` for many events received at once: `latest` is the time of receipt and `MAX_AHEAD`. Raises Refused."""
    at = parse_time(event.time)
    check_time_until(at, latest)
    if type(event) in _INPUT_TYPES:
        check_input(cast(InputEvent, event))
    else:
        check_identifier(event.id, "id")
        check_identifier(event.source, "source")
    return at


def check_topic(event: AnyEvent, topic: str) -> None:
    """An event on a topic that is not its type's is the producer's mistake. Raises Refused."""
    expected = TOPIC_OF_TYPE[type(event)].name
    if expected != topic:
        raise Refused("type", f"belongs to the topic {expected}")


UNKNOWN_TYPE: Final = "is not a known event type; replay it after an upgrade that knows it"


def refusal_of(error: Exception, raw: bytes, prefix: str = "") -> Refused:
    """A decoder's error as a Refused: the field's path and the problem, never the payload."""
    if isinstance(error, RecursionError):
        return Refused("", "is nested too deeply")
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(raw):
        return Refused("", "is not UTF-8")
    match = cast("re.Match[str]", _AT.match(str(error)))
    path = match["path"] or ""
    problem = match["problem"]
    if path == "type" and problem.startswith("Invalid value"):
        return Refused("type", UNKNOWN_TYPE)
    missing = re.match(r"Object missing required field `(\w+)`", problem)
    if missing:
        path, problem = ".".join(filter(None, (path, missing[1]))), "is missing"
    elif problem.startswith("Invalid enum value"):
        problem = "is not in the closed list" + _allowed(path)
    return Refused(".".join(filter(None, (prefix, path))), _uncapitalised(problem))


_CLOSED_LISTS: Final[dict[str, Any]] = {
    "kind": model.EvaluationKind,
    "status": model.OrderStatus,
    "customer_class": model.CustomerClass,
}


def _allowed(path: str) -> str:
    closed = _CLOSED_LISTS.get(path.rpartition(".")[2])
    return ": " + ", ".join(closed.__args__) if closed is not None else ""


def _uncapitalised(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
