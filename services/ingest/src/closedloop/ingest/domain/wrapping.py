"""A `data` object of a system that knows no CloudEvents → the event it stands for, and its bytes for Kafka."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import msgspec

from closedloop.common.events import model
from closedloop.common.events.decoder import decode_binary, refusal_of
from closedloop.common.events.model import InputEvent
from closedloop.common.events.rules import Refused
from closedloop.common.events.strict_json import check_strict, is_plainly_strict
from closedloop.common.events.topics import COMPLAINTS
from closedloop.ingest.domain.derived_id import derived_id

ENVELOPE_FIELDS: Final = ("id", "source", "type", "occurred_at")
_object: Final[msgspec.json.Decoder[dict[str, msgspec.Raw]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final[msgspec.json.Decoder[str | None]] = msgspec.json.Decoder(str | None)


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


def wrap(raw: bytes, kind: Kind, client: str, now: datetime, traceparent: str | None) -> tuple[InputEvent, bytes]:
    """The event, its types checked, and its structured-mode JSON. `source` defaults to the client, the time to now.

    The four envelope fields are taken out of the object; everything else stays, unknown fields too. Raises Refused, with the
    field's place in the event; `own_name` gives its name in the object.
    """
    try:
        fields = _object.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of(error, raw) from None
    # what stands twice is gone from the dict, so this must look at the bytes as they were sent
    if not is_plainly_strict(raw, len(fields)):
        check_strict(raw)
    given = {name: _taken_out(fields, name) for name in ENVELOPE_FIELDS}
    event_type = given["type"] or kind.default_type
    if event_type not in kind.types:
        raise Refused("type", "is not taken here; it may be " + ", ".join(kind.types))
    data = msgspec.json.encode(fields)
    occurred_at = given["occurred_at"]
    attributes = {
        "specversion": "1.0",
        "id": given["id"] or "(derived)",
        "source": given["source"] or client,
        "type": event_type,
        "time": occurred_at or now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    event = cast(InputEvent, decode_binary(data, attributes))
    if given["id"] is None:
        attributes["id"] = derived_id(event_type, event.data, occurred_at, data)
        event = msgspec.structs.replace(event, id=attributes["id"])
    return event, structured(attributes, data)


def own_name(field: str) -> str:
    """A field of the event as it is called in the object."""
    return "occurred_at" if field == "time" else field.removeprefix("data.")


def structured(attributes: dict[str, str], data: bytes) -> bytes:
    """The envelope around the raw data."""
    return b'%b,"data":%b}' % (msgspec.json.encode(attributes)[:-1], data)


def _taken_out(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    raw = fields.pop(name, None)
    if raw is None:
        return None
    try:
        text = _text.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused(name, "must be a string") from None
    if text == "":
        raise Refused(name, "must not be empty; leave it out")
    return text
