"""Many structured-mode events at once, as one request or file brings them: decoded and checked together.

What is fine is shown to be fine for all together, at half the cost of looking at each. Where that fails, the word on each event
stays with `decoder` and `rules`, so a batch never fares otherwise than its events alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any, Final, cast

import msgspec

from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.model import (
    AnyEvent,
    ComplaintClosedData,
    ComplaintEscalatedData,
    ComplaintRegisteredData,
    CustomerData,
    EnquiryRegisteredData,
    EvaluationData,
    OrderStatusChangedData,
)
from closedloop.common.events.rules import (
    DEFAULT_SCALE,
    E164,
    EARLIEST,
    MAX_EVENT_BYTES,
    TOPIC_PATH,
    Refused,
    are_codes,
    parse_time,
    parse_times,
)
from closedloop.common.events.strict_json import has_only_short_strings, is_plainly_strict

_FEW: Final = 8
"""So few are looked at one by one: to set about it for all together would cost more."""
_decoder: Final[msgspec.json.Decoder[list[AnyEvent]]] = msgspec.json.Decoder(list[AnyEvent])


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """For each item its event, types and strictness checked, or why it is refused."""

    events: Sequence[AnyEvent | Refused]
    whole: bytes = b""
    """All items as one plain JSON array, where they could be decoded as such."""

    def all_fine(self, latest: datetime) -> bool:
        """True where all events surely keep all of `rules`; false means that each must be looked at.

        `latest` is the time of receipt and `MAX_AHEAD`.
        """
        if not self.whole or not has_only_short_strings(self.whole):
            return False
        events = cast("Sequence[AnyEvent]", self.events)
        by_type: dict[Any, list[Any]] = {kind: [] for kind in set(map(type, events))}
        if len(by_type) == 1:
            by_type = {kind: [event.data for event in events] for kind in by_type}
        else:
            for event in events:
                by_type[type(event)].append(event.data)
        try:
            times = parse_times([event.time for event in events])
            in_time = min(times) >= EARLIEST and max(times) <= latest
            return in_time and all(map(_data_fine, by_type.values()))
        except Refused:
            return False


def decode_structured_batch(items: Sequence[bytes]) -> DecodedBatch:
    """`decode_structured` of each item, with the refusal in the place of an item that is refused."""
    if len(items) < _FEW:
        return DecodedBatch([_decoded_or_refused(raw) for raw in items])
    whole = b"[" + b",".join(items) + b"]"
    try:
        events = _decoder.decode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = []
    # a piece that begins with a brace is an object of its own: a cut inside an object leaves a key in front, and one inside a list
    # of objects is in a field that no event has, and so among the keys
    cut_right = len(events) == len(items) > 0 and all(map(bytes.startswith, items, repeat(b"{")))
    if cut_right and max(map(len, items)) <= MAX_EVENT_BYTES and is_plainly_strict(whole, events):
        return DecodedBatch(events, whole)
    return DecodedBatch([_decoded_or_refused(raw) for raw in items])


def _decoded_or_refused(raw: bytes) -> AnyEvent | Refused:
    try:
        return decode_structured(raw)
    except Refused as refused:
        return refused


def _data_fine(data: Sequence[Any]) -> bool:
    """`data` of one type, with short strings only: so identifiers are fine. May raise Refused as well."""
    rule = _RULES.get(type(data[0]))  # none for what the services say themselves
    return rule is not None and _customers_fine(data) and rule(data)


def _customers_fine(data: Sequence[CustomerData]) -> bool:
    return (
        are_codes([of.region for of in data])
        and are_codes([of.product for of in data])
        and are_codes([of.process for of in data])
        and are_codes([of.channel for of in data])
        and _match(E164.match, [of.phone for of in data])
    )


def _evaluations_fine(data: Sequence[EvaluationData]) -> bool:
    # a score without its own scale is the rule; all else is for `rules` to say
    if not {of.scale_min for of in data} == {of.scale_max for of in data} == {None}:
        return False
    scores: Sequence[Any] = [of.score for of in data]
    try:
        return bool(DEFAULT_SCALE[0] <= min(scores) and max(scores) <= DEFAULT_SCALE[1])
    except TypeError:  # one has none
        return False


def _registered_fine(data: Sequence[ComplaintRegisteredData]) -> bool:
    return _paths_fine(data) and {of.severity for of in data} <= {None, 1, 2, 3, 4}


def _paths_fine(
    data: Sequence[ComplaintRegisteredData | ComplaintEscalatedData | ComplaintClosedData | EnquiryRegisteredData],
) -> bool:
    return _match(TOPIC_PATH.match, [of.topic_path for of in data])


def _orders_fine(data: Sequence[OrderStatusChangedData]) -> bool:
    durations = {of.duration_s for of in data} - {None}
    for expected_by in {of.expected_by for of in data} - {None}:
        parse_time(cast(str, expected_by))
    return (
        are_codes([of.order_type for of in data])
        and are_codes([of.step for of in data])
        and min(cast("set[float]", durations), default=0) >= 0
    )


def _match(match: Callable[[str], object], values: Iterable[str | None]) -> bool:
    """Few different values, each looked at once; absent ones are fine."""
    return all(value is None or match(value) for value in set(values))


_RULES: Final[dict[type[Any], Callable[[Any], bool]]] = {
    EvaluationData: _evaluations_fine,
    ComplaintRegisteredData: _registered_fine,
    ComplaintEscalatedData: _paths_fine,
    ComplaintClosedData: _paths_fine,
    EnquiryRegisteredData: _paths_fine,
    OrderStatusChangedData: _orders_fine,
}
