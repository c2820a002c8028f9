"""Many events at once: what is said to be fine for all together keeps every rule alone, and what is usual is said to be fine."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events.batch import decode_structured_batch
from closedloop.common.events.contract import example_file
from closedloop.common.events.decoder import check_until
from closedloop.common.events.model import InputEvent
from closedloop.common.events.rules import Refused, parse_time, parse_times

LATEST = datetime(2026, 11, 20, 12, 5, tzinfo=UTC)
INPUT_TYPES = sorted(str(cls.__struct_config__.tag) for cls in get_args(InputEvent))
ENOUGH = 8

codes = st.none() | st.sampled_from(["broadband", "", "not a code", "a" * 64, "a" * 65, "ñ", "x\n"])
identifiers = st.none() | st.sampled_from(["k-1", "", " ", "é" * 130, "a" * 256, "a" * 257, "a" * 300, "\x7f", "\x85", "号"])
times = st.sampled_from(
    [
        "2026-11-20T12:00:00Z",
        "2026-11-20T12:00:00.250Z",
        "2026-11-20T20:04:59.999999+08:00",
        "2026-11-20T12:05:01Z",
        "2026-02-29T12:00:00Z",
        "2026-13-20T12:00:00Z",
        "1999-12-31T23:59:59Z",
        "2000-01-01T00:00:00Z",
        "2026-11-20T12:00:00",
        "2026-11-20 12:00:00Z",
        "2026-11-20T12:00:00+00:75",
        "2026-11-20T12:00:00+08:00",
        "",
        "2026-11-20T١2:00:00Z",
    ]
)
odd = {
    "region": codes,
    "product": codes,
    "process": codes,
    "channel": codes,
    "order_type": codes,
    "step": codes,
    "phone": st.none() | st.sampled_from(["+8613800138000", "13800138000", "+0123456789", "+86138001380001234"]),
    "customer_id": identifiers,
    "contact_id": identifiers,
    "agent_id": identifiers,
    "order_id": identifiers,
    "complaint_id": identifiers,
    "enquiry_id": identifiers,
    "campaign_id": identifiers,
    "topic_path": st.none() | st.sampled_from(["a/b", "", "a" * 200, "a" * 201, "a\tb"]),
    "score": st.none() | st.sampled_from([1, 10, 0.99, 10.01, 0, -1, 5]),
    "satisfied": st.none() | st.booleans(),
    "scale_min": st.none() | st.sampled_from([0, 1, 10]),
    "scale_max": st.none() | st.sampled_from([1, 5, 10]),
    "severity": st.none() | st.sampled_from([0, 1, 4, 5]),
    "duration_s": st.none() | st.sampled_from([-0.1, 0, 3.5]),
    "expected_by": st.none() | times,
    "text": st.none() | st.sampled_from(["short", "long " * 100]),
}


def of(event_type: str) -> dict[str, Any]:
    """The contract's example, at a time before LATEST."""
    event: dict[str, Any] = json.loads(example_file(event_type).read_text(encoding="utf-8"))
    return {**event, "time": "2026-11-20T11:59:59.500Z"}


def raw(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    event = of(draw(st.sampled_from(INPUT_TYPES)))
    for name in draw(st.sets(st.sampled_from(sorted(event["data"].keys() & odd.keys())), max_size=2)):
        value = draw(odd[name])
        event["data"] = {k: v for k, v in {**event["data"], name: value}.items() if v is not None}
    if draw(st.booleans()):
        event["time"] = draw(times)
    if draw(st.integers(0, 9)) == 0:
        event["id"] = draw(identifiers) or ""
    return raw(event)


@given(st.lists(changed(), min_size=1, max_size=3), st.sampled_from(INPUT_TYPES))
def test_what_is_fine_together_keeps_every_rule_alone(odd_ones: list[bytes], usual: str) -> None:
    batch = decode_structured_batch([*odd_ones, *[raw(of(usual))] * ENOUGH])
    if batch.all_fine(LATEST):
        for event in batch.events:
            assert not isinstance(event, Refused)
            check_until(event, LATEST)


@pytest.mark.parametrize("event_type", INPUT_TYPES)
def test_the_contracts_examples_are_fine_together(event_type: str) -> None:
    event = of(event_type)
    batch = decode_structured_batch([raw({**event, "id": f"e-{n}"}) for n in range(ENOUGH)])
    assert batch.all_fine(LATEST)
    assert not batch.all_fine(LATEST - timedelta(days=1)), "times after the latest"


def test_types_may_be_mixed() -> None:
    batch = decode_structured_batch([raw(of(event_type)) for event_type in INPUT_TYPES * 2])
    assert batch.all_fine(LATEST)


@given(st.lists(times, min_size=1, max_size=3) | times.map(lambda text: [text] * 3))
def test_times_together_are_read_as_each_alone(texts: list[str]) -> None:
    def alone() -> list[datetime] | str:
        try:
            return [parse_time(text) for text in texts]
        except Refused as refused:
            return str(refused)

    def together() -> list[datetime] | str:
        try:
            return parse_times(texts)
        except Refused as refused:
            return str(refused)

    assert together() == alone()
