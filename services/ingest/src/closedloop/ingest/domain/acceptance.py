"""Which events are taken, and where they go, in the order that they came."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from closedloop.common.events.batch import DecodedBatch, decode_structured_batch
from closedloop.common.events.decoder import decode_binary
from closedloop.common.events.model import InputEvent
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


Read = Callable[[Sequence[bytes]], tuple[DecodedBatch, Sequence[bytes]]]
"""Raw JSON of each item → the events, types checked, or why they are refused; and the value of each one's record."""


def read_structured(items: Sequence[bytes]) -> tuple[DecodedBatch, Sequence[bytes]]:
    """Structured-mode events are forwarded as they came."""
    return decode_structured_batch(items), items


def reads_binary(attributes: dict[str, str]) -> Read:
    """A binary-mode event is forwarded with its attributes around it."""

    def read(items: Sequence[bytes]) -> tuple[DecodedBatch, Sequence[bytes]]:
        [raw] = items
        try:
            return DecodedBatch([decode_binary(raw, attributes)]), [structured(attributes, raw)]
        except Refused as refused:
            return DecodedBatch([refused]), [b""]

    return read


def reads_objects(kind: Kind, client: str, now: datetime, traceparent: str | None) -> Read:
    """A bare object is forwarded with an envelope around it."""
    return lambda items: wrap(items, kind, client, now, traceparent)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request's events are held to. `regions`: None covers all."""

    regions: frozenset[str] | None
    now: datetime
    max_event_bytes: int


def sort_out(items: Sequence[bytes], read: Read, limits: Limits, traceparent: bytes | None, into: Sorted, first: int = 0) -> None:
    """Check the items and put each among the records of its topic or the refusals of `into`; `first`: the place of the first."""
    decoded, values = read(items)
    if not _take_together(decoded, values, limits, traceparent, into):
        _take_each(items, decoded, values, limits, traceparent, into, first)


def _take_together(decoded: DecodedBatch, values: Sequence[bytes], limits: Limits, traceparent: bytes | None, into: Sorted) -> bool:
    """Where all are fine and of one topic: most batches are, and this takes them in half the time."""
    if max(map(len, values)) > limits.max_event_bytes or not decoded.all_fine(limits.now + MAX_AHEAD):
        return False
    topics = {TOPIC_OF.get(kind) for kind in set(map(type, decoded.events))}
    topic = topics.pop()
    if topics or topic is None:
        return False
    events = cast("Sequence[InputEvent]", decoded.events)
    if limits.regions is not None and not limits.regions.issuperset([event.data.region for event in events]):
        return False
    records = into.records.setdefault(topic, Records())
    if traceparent is not None:
        untraced = (place for place, event in enumerate(events, len(records)) if event.traceparent is None)
        records.traceparents.update(dict.fromkeys(untraced, traceparent))
    records.keys += [event.data.customer_id.encode() for event in events]
    records.values += values
    return True


def _take_each(
    items: Sequence[bytes],
    decoded: DecodedBatch,
    values: Sequence[bytes],
    limits: Limits,
    traceparent: bytes | None,
    into: Sorted,
    first: int,
) -> None:
    latest = limits.now + MAX_AHEAD
    for index, event in enumerate(decoded.events):
        try:
            _check_size(max(len(items[index]), len(values[index])), limits.max_event_bytes)
            topic = TOPIC_OF.get(type(event))
            if topic is None:
                raise event if isinstance(event, Refused) else Refused("type", NOT_TAKEN)
            taken = cast(InputEvent, event)
            check_time_until(parse_time(taken.time), latest)
            check_input(taken)
            if limits.regions is not None and taken.data.region not in limits.regions:
                raise Foreign("data.region", f"the token does not cover {taken.data.region}")
        except Refused as refused:
            into.refused.append((first + index, refused))
            continue
        records = into.records.setdefault(topic, Records())
        if traceparent is not None and taken.traceparent is None:
            records.traceparents[len(records)] = traceparent
        records.keys.append(taken.data.customer_id.encode())
        records.values.append(values[index])


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooBig("", f"is {size} bytes long; the limit is {limit}")
