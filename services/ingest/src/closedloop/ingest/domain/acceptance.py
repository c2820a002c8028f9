"""Which events are taken, and where they go: one by one, in the order that they came."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

from closedloop.common.events.decoder import check, decode_binary, decode_structured
from closedloop.common.events.model import AnyEvent, CustomerData
from closedloop.common.events.rules import Refused
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.ingest.domain.wrapping import Kind, structured, wrap

TOPIC_OF: Final = {cls: topic.name for topic in INPUT_TOPICS for cls in topic.types}
TAKEN_TYPES: Final = ", ".join(str(cls.__struct_config__.tag) for cls in TOPIC_OF)


class Foreign(Refused):
    """The event is of a region that the token does not cover."""


class TooBig(Refused):
    """The event is larger than one may be."""


@dataclass(slots=True)
class Records:
    """Records for one topic, in order. `traceparents` holds those of them that are to travel in a header."""

    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    traceparents: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class Sorted:
    """What became of the events of one request: records by topic, and refusals by place in the request."""

    records: dict[str, Records] = field(default_factory=dict)
    refused: list[tuple[int, Refused]] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many may be written."""
        return sum(map(len, self.records.values()))


Read = Callable[[bytes], tuple[AnyEvent, bytes]]
"""Raw JSON → the event, its types checked, and the value of its record. Raises Refused."""


def read_structured(raw: bytes) -> tuple[AnyEvent, bytes]:
    """A structured-mode event is forwarded as it came."""
    return decode_structured(raw), raw


def reads_binary(attributes: dict[str, str]) -> Read:
    """A binary-mode event is forwarded with its attributes around it."""
    return lambda raw: (decode_binary(raw, attributes), structured(attributes, raw))


def reads_objects(kind: Kind, client: str, now: datetime, traceparent: str | None) -> Read:
    """A bare object is forwarded with an envelope around it."""
    return lambda raw: wrap(raw, kind, client, now, traceparent)


def sort_out(
    items: Iterable[bytes],
    read: Read,
    regions: frozenset[str] | None,
    now: datetime,
    max_event_bytes: int,
    traceparent: bytes | None,
    into: Sorted,
    first: int = 0,
) -> None:
    """Check each item and put it among the records of its topic or the refusals of `into`. `regions`: None covers all."""
    for index, raw in enumerate(items, first):
        try:
            if len(raw) > max_event_bytes:
                raise TooBig("", f"is {len(raw)} bytes long; the limit is {max_event_bytes}")
            event, value = read(raw)
            topic = TOPIC_OF.get(type(event))
            if topic is None:
                raise Refused("type", f"is published by the services themselves; taken here are {TAKEN_TYPES}")
            check(event, now)
            data = cast(CustomerData, event.data)
            if regions is not None and data.region not in regions:
                raise Foreign("data.region", f"the token does not cover {data.region}")
            if len(value) > max_event_bytes:
                raise TooBig("", f"is {len(value)} bytes long with its envelope; the limit is {max_event_bytes}")
        except Refused as refused:
            into.refused.append((index, refused))
            continue
        records = into.records.get(topic)
        if records is None:
            records = into.records[topic] = Records()
        if traceparent is not None and event.traceparent is None:
            records.traceparents[len(records.values)] = traceparent
        records.keys.append(data.customer_id.encode())
        records.values.append(value)
