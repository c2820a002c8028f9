"""What is a well-formed event: types, strictness, rules. One truth for all services."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events.contract import example_file
from closedloop.common.events.decoder import check, decode_record, decode_structured
from closedloop.common.events.model import EvaluationData
from closedloop.common.events.rules import MAX_EVENT_BYTES, Refused, is_dissatisfied, parse_time
from closedloop.common.events.strict_json import check_strict

NOW = datetime(2026, 11, 20, 1, tzinfo=UTC)
EXAMPLE: dict[str, Any] = json.loads(example_file("evaluation.submitted.v1").read_text(encoding="utf-8"))
RAW = json.dumps(EXAMPLE, ensure_ascii=False).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(Refused) as refused:
        check(decode_structured(raw), NOW)
    return str(refused.value)


def with_data(**changes: Any) -> bytes:
    return json.dumps({**EXAMPLE, "data": {**EXAMPLE["data"], **changes}}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (RAW.replace(b"slow_repair", b"slow\xffrepair"), "not UTF-8"),
        (RAW.replace(b"slow_repair", b"a\\u0000b"), "NUL"),
        (RAW.replace(b'"score": 3', b'"score": 3, "score": 3'), "duplicate key"),
        (RAW.replace(b'"score": 3', b'"score": 3, "other": {"a": 1, "a": 2}'), "duplicate key"),
        (RAW.replace(b'"score": 3', b'"score" : 3, "score": 4'), "duplicate key"),
        (RAW.replace(b"slow_repair", b"\\ud800"), "surrogate"),
        (RAW.replace(b'"score": 3', b'"score": 1e999'), "data.score: number out of range"),
        (RAW.replace(b'"score": 3', b'"score": 3, "deep": ' + b"[" * 1100 + b"]" * 1100), "nested too deeply"),
        (RAW.replace(b"slow_repair", b"x" * MAX_EVENT_BYTES), f"the limit is {MAX_EVENT_BYTES}"),
        (RAW.replace(b"evaluation.submitted.v1", b"evaluation.invented.v9"), "type: is not a known event type"),
        (RAW[:-5], "truncated"),
        (b"", "truncated"),
        (b"[]", "expected `object`"),
        (with_data(kind="poll"), "data.kind: is not in the closed list: survey, sms_rating, complaint_followup"),
        (with_data(region="New York"), "data.region: must match"),
        (with_data(score=11), "data.score: must be on its scale, 1 to 10"),
        (with_data(score=None), "data.score: is missing; send `score` or `satisfied`"),
        (with_data(score="3"), "data.score: expected `float | null`"),
        (with_data(phone="13800138000"), "data.phone: must be E.164"),
        (with_data(customer_id=""), "data.customer_id: must be 1 to 256"),
        (json.dumps({**EXAMPLE, "time": "2026-11-20T08:00:00"}).encode(), "time: needs an offset"),
        (json.dumps({**EXAMPLE, "time": "2026-11-20 08:00:00Z"}).encode(), "time: must be written as 2026-11-20T08:00:00"),
        (json.dumps({**EXAMPLE, "time": "2026-11-20T08:00:00+00:75"}).encode(), "time: has an offset that does not exist"),
        (json.dumps({**EXAMPLE, "time": "2026-11-20T08:00:00-24:00"}).encode(), "time: has an offset that does not exist"),
        (json.dumps({**EXAMPLE, "time": "2026-02-30T08:00:00Z"}).encode(), "time: is not a time that exists"),
        (json.dumps({**EXAMPLE, "time": "2099-01-01T00:00:00Z"}).encode(), "more than 5 min ahead"),
        (json.dumps({**EXAMPLE, "time": "1999-12-31T23:59:59Z"}).encode(), "before 2000"),
        (json.dumps({k: v for k, v in EXAMPLE.items() if k != "time"}).encode(), "time: is missing"),
        (json.dumps({k: v for k, v in EXAMPLE.items() if k != "data"}).encode(), "data: is missing"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_field_and_the_way_out(raw: bytes, words: str) -> None:
    assert words in refusal(raw)


def test_a_refusal_never_repeats_a_phone_or_a_key() -> None:
    assert "8613911112222" not in refusal(with_data(phone="8613911112222"))
    assert "8613911112222" not in refusal(RAW.replace(b'"score": 3', b'"score": 3, "8613911112222": 1, "8613911112222": 2'))


def test_unknown_fields_escapes_nulls_and_white_space_are_no_reason_to_refuse() -> None:
    for raw in (
        with_data(invented={"a": [1, {"b": None}]}),
        json.dumps(EXAMPLE, ensure_ascii=True, indent=4).encode(),
        with_data(comment='she said "no": twice', agent_id=None),
    ):
        assert check(decode_structured(raw), NOW) == datetime(2026, 11, 20, tzinfo=UTC)


def test_a_tombstone_is_refused() -> None:
    with pytest.raises(Refused, match="tombstone"):
        decode_record(None, [])


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(["comment", "reason", "x", "y"]), values, max_size=4),
    ascii_only=st.booleans(),
    spaces=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
    twice=st.booleans(),
)
def test_the_quick_proof_never_lets_a_duplicate_key_through(
    changes: dict[str, Any], ascii_only: bool, spaces: tuple[str, str], twice: bool
) -> None:
    text = json.dumps({**EXAMPLE, "data": {**EXAMPLE["data"], **changes}}, ensure_ascii=ascii_only, separators=spaces)
    if twice:
        text = text.replace('"region"', f'"region"{spaces[1]}"NJ"{spaces[0]}"region"', 1)
    raw = text.encode()
    try:
        decode_structured(raw)
    except Refused:
        assert twice or any(not isinstance(changes.get(k), str | None) for k in ("comment", "reason"))
        return
    assert not twice
    check_strict(raw)  # what was taken by the quick proof passes the full one


@given(st.datetimes(datetime(2000, 1, 1), datetime(2026, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_times_are_read_with_their_offset(at: datetime, offset_min: int) -> None:
    aware = at.replace(tzinfo=UTC) + timedelta(minutes=offset_min)
    sign = "+" if offset_min >= 0 else "-"
    text = aware.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + f"{sign}{abs(offset_min) // 60:02d}:{abs(offset_min) % 60:02d}"
    assert parse_time(text) == at.replace(tzinfo=UTC)


@given(st.floats(0, 1), st.floats(-5, 5), st.floats(0.5, 50))
def test_dissatisfied_is_the_lower_half_of_any_scale(place: float, low: float, width: float) -> None:
    data = EvaluationData(
        customer_id="c", region="r", kind="survey", score=low + place * width, scale_min=low, scale_max=low + width
    )
    if abs(place - 0.5) > 1e-6:
        assert is_dissatisfied(data) == (place < 0.5)


def test_what_the_customer_said_outright_wins_over_the_score() -> None:
    assert is_dissatisfied(EvaluationData(customer_id="c", region="r", kind="survey", score=10, satisfied=False))
    assert not is_dissatisfied(EvaluationData(customer_id="c", region="r", kind="survey", score=1, satisfied=True))


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from("+-"), st.booleans())
def test_an_offset_has_hours_to_23_and_minutes_to_59(hours: int, minutes: int, sign: str, is_known_second: bool) -> None:
    second = "2026-11-20T08:00:00" if is_known_second else f"2026-11-20T08:{minutes % 60:02d}:{hours % 60:02d}"
    text = f"{second}{sign}{hours:02d}:{minutes:02d}"
    if hours <= 23 and minutes <= 59:
        assert parse_time(text) == datetime.fromisoformat(text)
    else:
        with pytest.raises(Refused, match="offset that does not exist"):
            parse_time(text)
