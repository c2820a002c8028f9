"""A batch is decoded as each of its events alone would be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events.batch import decode_structured_batch
from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.model import AnyEvent
from closedloop.common.events.rules import Refused
from ingest.door import example

COMPACT: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False}
texts = st.text(max_size=20) | st.sampled_from(['"x":', "a : b", "\\", "\t", "\x7f", "\ud800", "\0"])


@st.composite
def events(draw: st.DrawFn) -> bytes:
    data: dict[str, Any] = {"comment": draw(texts), "reason": draw(st.none() | st.just("slow"))}
    if draw(st.booleans()):
        data[draw(texts)] = draw(st.none() | st.integers() | texts)
    raw = json.dumps(example(data=data), **draw(st.sampled_from([COMPACT, {}, {"indent": 1}])))
    if draw(st.integers(0, 9)) == 0:
        raw = raw.replace('"customer_id"', '"region":"NJ","customer_id"')  # stands twice then
    if draw(st.integers(0, 9)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return raw.encode("utf-8", "surrogatepass")


def outcome(found: AnyEvent | Refused) -> Any:
    return str(found) if isinstance(found, Refused) else found


def alone(raw: bytes) -> AnyEvent | Refused:
    try:
        return decode_structured(raw)
    except Refused as refused:
        return refused


@given(st.lists(events(), max_size=4), st.integers(0, 12))
def test_each_event_of_a_batch_fares_as_alone(raws: list[bytes], more: int) -> None:
    raws += [json.dumps(example(), **COMPACT).encode()] * more  # so many that they are decoded together
    assert list(map(outcome, decode_structured_batch(raws).events)) == [outcome(alone(raw)) for raw in raws]


@pytest.mark.parametrize("place", [0, 30, 59])
def test_a_key_that_stands_twice_is_found_in_a_large_batch(place: int) -> None:
    raws = [json.dumps(example(), **COMPACT).encode() for _ in range(60)]
    assert not any(isinstance(found, Refused) for found in decode_structured_batch(raws).events)
    raws[place] = raws[place].replace(b'"region"', b'"region":"SZ","region"')
    found = decode_structured_batch(raws).events
    assert [index for index, one in enumerate(found) if isinstance(one, Refused)] == [place]
    assert "duplicate key" in str(found[place])


def test_pieces_that_are_only_together_a_batch_are_refused() -> None:
    one = json.dumps(example(), **COMPACT).encode()
    for cut in (place for place in range(len(one)) if one[place : place + 1] == b","):
        pieces = [one + b"," + one[:cut], one[cut + 1 :]]
        found = decode_structured_batch([*pieces, *[one] * 10]).events
        assert [isinstance(event, Refused) for event in found] == [True, True, *[False] * 10]
