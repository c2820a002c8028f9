"""A `data` object of a system that knows no CloudEvents → the event it stands for, and its bytes for Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import msgspec

from closedloop.common.events import model
from closedloop.common.events.batch import DecodedBatch, decode_structured_batch
from closedloop.common.events.decoder import refusal_of
from closedloop.common.events.model import AnyEvent, InputEvent
from closedloop.common.events.rules import Refused
from closedloop.common.events.strict_json import check_strict, is_plain, keys_in_plain
from closedloop.common.events.topics import COMPLAINTS
from closedloop.ingest.domain.derived_id import derived_id

_object: Final[msgspec.json.Decoder[dict[str, msgspec.Raw]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(str)
_DERIVED: Final = b'"(derived)"'
_ENVELOPE: Final = b'{"specversion":"1.0","id":%b,"source":%b,"type":%b,"time":%b%b,"datacontenttype":"application/json","data":%b}'
_NOT_DECODED: Final = Refused("", "is not decoded")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a route takes: the type where an object names none, and those that it may name."""

    default_type: str
    types: tuple[str, ...]


def _name(cls: type[model.Event]) -> str:
    return str(cls.__struct_config__.tag)


EVALUATIONS: Final = Kind(_name(model.EvaluationSubmitted), (_name(model.EvaluationSubmitted),))
COMPLAINT_EVENTS: Final = Kind(_name(model.ComplaintRegistered), tuple(map(_name, COMPLAINTS.types)))
ENQUIRIES: Final = Kind(_name(model.EnquiryRegistered), (_name(model.EnquiryRegistered),))
ORDERS: Final = Kind(_name(model.OrderStatusChanged), (_name(model.OrderStatusChanged),))


def wrap(
    items: Sequence[bytes], kind: Kind, client: str, now: datetime, traceparent: str | None
) -> tuple[DecodedBatch, list[bytes]]:
    """For each object the event, its types checked, or why it is refused; and its structured-mode JSON.

    `source` defaults to the client, the time to now. The four envelope fields are taken out of the object; everything else stays,
    unknown fields too. A refusal names the field's place in the event; `own_name` gives its name in the object.
    """
    defaults = _Defaults(kind, client, now, traceparent)
    found: list[AnyEvent | Refused] = []
    values: list[bytes] = [b""] * len(items)
    wrapped: dict[int, _Wrapped] = {}
    for place, fields in enumerate(_fields_of(items)):
        try:
            if isinstance(fields, Refused):
                raise fields
            wrapped[place] = _Wrapped(items[place], fields, defaults)
        except Refused as refused:
            found.append(refused)
        else:
            found.append(_NOT_DECODED)
    decoded = decode_structured_batch([one.value for one in wrapped.values()])
    for (place, one), event in zip(wrapped.items(), decoded.events, strict=True):
        found[place] = event
        if one.needs_id and not isinstance(event, Refused):
            try:
                one.give_id(cast(InputEvent, event))
            except Refused as refused:
                found[place] = refused
        values[place] = one.value
    together = not any(isinstance(one, Refused) for one in found)
    return DecodedBatch(found, decoded.whole if together else b""), values


class _Defaults:
    """What objects of one request get where they do not say it themselves, as JSON."""

    def __init__(self, kind: Kind, client: str, now: datetime, traceparent: str | None) -> None:
        self.kind = kind
        self.type = msgspec.json.encode(kind.default_type)
        self.source = msgspec.json.encode(client)
        self.time = msgspec.json.encode(now.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        self.trace = b"" if traceparent is None else b',"traceparent":"%b"' % traceparent.encode()


class _Wrapped:
    """One object in its envelope. Raises Refused."""

    __slots__ = ("data", "needs_id", "says_time", "value")

    def __init__(self, raw: bytes, fields: dict[str, msgspec.Raw], defaults: _Defaults) -> None:
        before = len(fields)
        event_id = _taken_out(fields, "id")
        source = _taken_out(fields, "source")
        event_type = _taken_out(fields, "type")
        time = _taken_out(fields, "occurred_at")
        if event_type is not None:
            _check_type(event_type, defaults.kind)
        self.needs_id = event_id is None
        self.says_time = time is not None
        self.data = raw if len(fields) == before else msgspec.json.encode(fields)
        self.value = _ENVELOPE % (
            event_id or _DERIVED,
            source or defaults.source,
            event_type or defaults.type,
            time or defaults.time,
            defaults.trace,
            self.data,
        )

    def give_id(self, event: InputEvent) -> None:
        """Put the derived id into event and value."""
        derived = derived_id(event.type, event.data, event.time if self.says_time else None, self.data)
        msgspec.structs.force_setattr(event, "id", derived)
        self.value = self.value.replace(_DERIVED, b'"%b"' % derived.encode(), 1)


def _fields_of(items: Sequence[bytes]) -> list[dict[str, msgspec.Raw] | Refused]:
    """The fields of each object. What stands twice is gone from a dict, so keys are counted in the bytes as they were sent."""
    try:
        fields = list(map(_object.decode, items))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_fields_or_refused(raw) for raw in items]
    whole = b",".join(items)
    if is_plain(whole) and keys_in_plain(whole) == sum(map(len, fields)):
        return cast("list[dict[str, msgspec.Raw] | Refused]", fields)
    return [_fields_or_refused(raw) for raw in items]


def _fields_or_refused(raw: bytes) -> dict[str, msgspec.Raw] | Refused:
    try:
        fields = _object.decode(raw)
        if not (is_plain(raw) and keys_in_plain(raw) == len(fields)):
            check_strict(raw)
    except Refused as refused:
        return refused
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(error, raw)
    return fields


def _taken_out(fields: dict[str, msgspec.Raw], name: str) -> bytes | None:
    raw = fields.pop(name, None)
    if raw is None:
        return None
    token = bytes(raw)
    return None if token == b"null" else token


def _check_type(token: bytes, kind: Kind) -> None:
    try:
        text = _text.decode(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused("type", "must be a string") from None
    if text not in kind.types:
        raise Refused("type", "is not taken here; it may be " + ", ".join(kind.types))


def own_name(field: str) -> str:
    """A field of the event as it is called in the object."""
    return "occurred_at" if field == "time" else field.removeprefix("data.")


def structured(attributes: dict[str, str], data: bytes) -> bytes:
    """The envelope around the raw data."""
    return b'%b,"data":%b}' % (msgspec.json.encode(attributes)[:-1], data)
