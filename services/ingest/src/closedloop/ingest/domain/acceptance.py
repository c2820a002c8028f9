"""Which events are taken, and where they go: one by one, in the order that they came."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from closedloop.common.events.decoder import decode_binary, decode_structured_batch
from closedloop.common.events.model import AnyEvent, InputEvent
from closedloop.common.events.rules import MAX_AHEAD, Refused, check_input, check_time_until, parse_time
from closedloop.common.events.topics import INPUT_TOPICS
from closedloop.ingest.domain.wrapping import Kind, structured, wrap

TOPIC_OF: Final[dict[Any, str]] = {cls: topic.name for topic in INPUT_TOPICS for cls in topic.types}
NOT_TAKEN: Final = "is published by the services themselves; taken here are " + ", ".join(
    str(cls.__struct_config__.tag) for cls in TOPIC_OF
)


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

    def extend(self, more: "Records") -> None:
        """Put these behind."""
        for place, traceparent in more.traceparents.items():
            self.traceparents[len(self.values) + place] = traceparent
        self.keys += more.keys
        self.values += more.values


@dataclass(slots=True)
class Sorted:
    """What became of the events of one request: records by topic, and refusals by place in the request."""

    records: dict[str, Records] = field(default_factory=dict)
    refused: list[tuple[int, Refused]] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many may be written."""
        return sum(map(len, self.records.values()))


Read = Callable[[Sequence[bytes]], tuple[Sequence[AnyEvent | Refused], Sequence[bytes]]]
"""Raw JSON of each item → the event, its types checked, or why it is refused; and the value of its record."""


def read_structured(items: Sequence[bytes]) -> tuple[Sequence[AnyEvent | Refused], Sequence[bytes]]:
    """Structured-mode events are forwarded as they came."""
    return decode_structured_batch(items), items


def reads_binary(attributes: dict[str, str]) -> Read:
    """A binary-mode event is forwarded with its attributes around it."""

    def read(items: Sequence[bytes]) -> tuple[Sequence[AnyEvent | Refused], Sequence[bytes]]:
        [raw] = items
        try:
            return [decode_binary(raw, attributes)], [structured(attributes, raw)]
        except Refused as refused:
            return [refused], [b""]

    return read


def reads_objects(kind: Kind, client: str, now: datetime, traceparent: str | None) -> Read:
    """A bare object is forwarded with an envelope around it."""
    return lambda items: wrap(items, kind, client, now, traceparent)


def sort_out(
    items: Sequence[bytes],
    read: Read,
    regions: frozenset[str] | None,
    now: datetime,
    max_event_bytes: int,
    traceparent: bytes | None,
    into: Sorted,
    first: int = 0,
) -> None:
    """Check each item and put it among the records of its topic or the refusals of `into`. `regions`: None covers all."""
    latest = now + MAX_AHEAD
    events, values = read(items)
    some_too_big = max(map(len, items)) > max_event_bytes or (values is not items and max(map(len, values)) > max_event_bytes)
    topic_of = TOPIC_OF.get
    topic: str | None = None
    records = Records()
    keys, taken_values = records.keys, records.values
    for index, event in enumerate(events):
        try:
            if some_too_big:
                _check_size(max(len(items[index]), len(values[index])), max_event_bytes)
            its_topic = topic_of(type(event))
            if its_topic is None:
                raise event if isinstance(event, Refused) else Refused("type", NOT_TAKEN)
            taken = cast(InputEvent, event)
            check_time_until(parse_time(taken.time), latest)
            check_input(taken)
            data = taken.data
            if regions is not None and data.region not in regions:
                raise Foreign("data.region", f"the token does not cover {data.region}")
        except Refused as refused:
            into.refused.append((first + index, refused))
            continue
        if its_topic is not topic:
            topic = its_topic
            records = into.records.setdefault(topic, Records())
            keys, taken_values = records.keys, records.values
        if traceparent is not None and taken.traceparent is None:
            records.traceparents[len(taken_values)] = traceparent
        keys.append(data.customer_id.encode())
        taken_values.append(values[index])


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooBig("", f"is {size} bytes long; the limit is {limit}")
