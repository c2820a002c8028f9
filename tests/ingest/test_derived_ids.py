"""An event without an id: a retry is the same event, another event is not."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.events import model
from closedloop.common.events.rules import Refused
from closedloop.ingest.domain.derived_id import derived_id

REGISTERED, ESCALATED, CLOSED = "complaint.registered.v1", "complaint.escalated.v1", "complaint.closed.v1"
ORDER, EVALUATION, ENQUIRY = "order.status_changed.v1", "evaluation.submitted.v1", "enquiry.registered.v1"
TYPES: dict[str, Any] = {
    REGISTERED: model.ComplaintRegisteredData,
    ESCALATED: model.ComplaintEscalatedData,
    CLOSED: model.ComplaintClosedData,
    ORDER: model.OrderStatusChangedData,
    EVALUATION: model.EvaluationData,
    ENQUIRY: model.EnquiryRegisteredData,
}
AT = "2026-01-05T08:00:00+08:00"
words = st.text(min_size=1, max_size=12)


def id_of(event_type: str, occurred_at: str | None = None, **data: Any) -> str:
    whole = {"customer_id": "C1", "region": "NJ", **data}
    raw = json.dumps(whole).encode()
    return derived_id(event_type, msgspec.json.decode(raw, type=TYPES[event_type]), occurred_at, raw)


@given(complaint=words, level=st.none() | words, other=words)
def test_a_complaint_is_told_by_its_number_its_type_and_its_level(complaint: str, level: str | None, other: str) -> None:
    escalated = id_of(ESCALATED, complaint_id=complaint, level=level)
    assert escalated == id_of(ESCALATED, AT, complaint_id=complaint, level=level, reason=other, region="SZ")
    assert escalated != id_of(ESCALATED, complaint_id=complaint, level=f"{level}{other}")
    assert escalated != id_of(ESCALATED, complaint_id=complaint + other, level=level)
    assert len({id_of(kind, complaint_id=complaint, topic_path="a/b") for kind in (REGISTERED, ESCALATED, CLOSED)}) == 3


def test_a_level_is_the_same_as_number_and_as_text() -> None:
    assert id_of(ESCALATED, complaint_id="K1", level=2) == id_of(ESCALATED, complaint_id="K1", level="2")
    assert id_of(ESCALATED, complaint_id="K1", level="") != id_of(ESCALATED, complaint_id="K1")


@given(parts=st.lists(words, min_size=2, max_size=2), cut=st.integers(0, 24))
def test_parts_do_not_run_into_each_other(parts: list[str], cut: int) -> None:
    joined = "".join(parts)
    cut = min(max(cut, 1), len(joined) - 1)
    moved = [joined[:cut], joined[cut:]]
    same = id_of(ESCALATED, complaint_id=parts[0], level=parts[1]) == id_of(ESCALATED, complaint_id=moved[0], level=moved[1])
    assert same == (moved == parts)


def test_an_order_is_told_by_number_status_step_and_instant() -> None:
    facts = {"order_id": "O1", "order_type": "new_install", "status": "waiting", "step": "dispatch"}
    first = id_of(ORDER, AT, **facts)
    assert first == id_of(ORDER, "2026-01-05T00:00:00Z", **facts, reason="no engineer")
    assert first != id_of(ORDER, "2026-01-05T08:00:01+08:00", **facts)
    assert first != id_of(ORDER, AT, **{**facts, "step": "visit"})
    assert first != id_of(ORDER, AT, **{**facts, "status": "completed"})


def test_an_evaluation_of_a_contact_is_told_by_contact_and_kind() -> None:
    first = id_of(EVALUATION, contact_id="k1", kind="survey", score=3)
    assert first == id_of(EVALUATION, AT, contact_id="k1", kind="survey", score=9)
    assert first != id_of(EVALUATION, contact_id="k1", kind="sms_rating", score=3)


@given(fields=st.dictionaries(words, st.integers() | words | st.booleans(), max_size=5), seed=st.integers(0, 1000))
def test_anything_else_is_told_by_all_it_says_in_whatever_order(fields: dict[str, Any], seed: int) -> None:
    whole = {"enquiry_id": "E1", "topic_path": "a/b", **{f"x-{name}": value for name, value in fields.items()}}
    shuffled = list(whole.items())
    random.Random(seed).shuffle(shuffled)
    assert id_of(ENQUIRY, AT, **whole) == id_of(ENQUIRY, "2026-01-05T00:00:00Z", **dict(shuffled))
    assert id_of(ENQUIRY, AT, **whole) != id_of(ENQUIRY, AT, **{**whole, "x": 1})
    assert id_of(ENQUIRY, AT, **whole) != id_of(ENQUIRY, "2026-01-05T00:00:01Z", **whole)


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        (ORDER, {"order_id": "O1", "order_type": "top_up", "status": "failed"}),
        (EVALUATION, {"kind": "survey", "score": 3}),
        (ENQUIRY, {"enquiry_id": "E1", "topic_path": "a"}),
    ],
)
def test_where_the_time_is_part_of_the_id_it_must_be_there(event_type: str, data: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        id_of(event_type, None, **data)
    assert refused.value.field == "occurred_at"
    assert "send `occurred_at`, or an `id`" in refused.value.problem
