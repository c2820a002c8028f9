"""A fingerprint tells whether an event says the same: in whatever layout, mode or process, and whatever the catalogue looks at."""

from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from closedloop.kpi.columnar.decode import ColumnarDecoder
from kpi.records import batch, encoded, envelope, rating, record
from kpi.test_columnar_decode import DECODER, RETENTION

ORDER = {
    "customer_id": "C1",
    "region": "NJ",
    "product": "broadband",
    "order_id": "O1",
    "order_type": "top_up",
    "status": "failed",
    "first_try": True,
    "duration_s": 12.5,
}
COMPLAINT = {"customer_id": "C1", "region": "NJ", "complaint_id": "K1", "topic_path": "top_up/unionpay_not_credited", "severity": 2}
ORDER_TYPE, COMPLAINT_TYPE = "order.status_changed.v1", "complaint.registered.v1"


def fingerprints(*records: ConsumerRecord, decoder: ColumnarDecoder = DECODER) -> list[int]:
    [columns], rejections, _ = decoder.decode(batch(records))
    assert not rejections
    found: list[int] = columns.fingerprints.tolist()
    return found


def structured(data: dict[str, Any], *, topic: str = "evaluations", type_: str = "evaluation.submitted.v1", **options: Any) -> Any:
    return record(encoded(envelope(data, type_), **options), topic)


def test_fingerprints_are_what_they_were() -> None:
    """They are stored: who changes them makes each repetition of an event of before look like another content."""
    everything = rating(
        customer_class="gold", product="mobile", process="tariff", channel="app", scale_min=0, scale_max=10, satisfied=False
    )
    assert fingerprints(structured(rating()), structured(everything)) == [3340441628, 3345795774]
    assert fingerprints(structured(ORDER, topic="orders", type_=ORDER_TYPE)) == [1178295553]
    assert fingerprints(structured(COMPLAINT, topic="complaints", type_=COMPLAINT_TYPE)) == [3918197048]


def test_layout_mode_and_offset_of_the_time_say_nothing() -> None:
    data = rating(product="mobile", satisfied=False)
    attributes = {key: value for key, value in envelope({}).items() if key != "data"}
    headers = [(f"ce_{key}", value.encode()) for key, value in attributes.items()]
    same = [
        structured(data),
        structured(data, separators=(" , ", " : ")),
        structured(dict(reversed(data.items()))),
        structured({**data, "score": 7.0, "channel": None}),
        structured({**data, "unknown": 1}),
        record(encoded(data), headers=headers),
        record(encoded(envelope(data, time="2026-11-20T00:00:00Z"))),
        record(encoded(envelope(data, time="2026-11-20T00:00:00.000000000Z"))),
        record(encoded(envelope(data, id="another", source="/another", subject="C"))),
    ]
    assert len(set(fingerprints(*same))) == 1
    assert fingerprints(*same) == [mark for one in same for mark in fingerprints(one)]


@pytest.mark.parametrize(
    ("topic", "type_", "data", "changes"),
    [
        (
            "evaluations",
            "evaluation.submitted.v1",
            rating(product="mobile", satisfied=False),
            {
                "region": "SZ",
                "product": "NJ",
                "process": "mobile",
                "channel": "web",
                "customer_class": "gold",
                "kind": "sms_rating",
                "score": 8,
                "satisfied": True,
                "scale_min": 0,
                "scale_max": 11,
            },
        ),
        (
            "orders",
            ORDER_TYPE,
            ORDER,
            {"status": "completed", "order_type": "resumption", "step": "top_up", "first_try": False, "duration_s": 12.25},
        ),
        ("complaints", COMPLAINT_TYPE, COMPLAINT, {"topic_path": "top_up", "severity": 3}),
    ],
)
def test_each_code_and_each_quantity_says_something(topic: str, type_: str, data: dict[str, Any], changes: dict[str, Any]) -> None:
    changed = [{**data, name: value} for name, value in changes.items()]
    without = [
        {k: v for k, v in data.items() if k != name} for name in data.keys() & changes.keys() - {"region", "kind", "topic_path"}
    ]
    if topic == "orders":
        without = [one for one in without if one.keys() >= {"order_type", "status"}]
    said = [data, *changed, *without]
    marks = fingerprints(*(structured(one, topic=topic, type_=type_) for one in said))
    assert len(set(marks)) == len(said)


def test_the_type_and_the_time_say_something() -> None:
    closed = {"customer_id": "C1", "region": "NJ", "complaint_id": "K1"}
    types = ("complaint.closed.v1", "complaint.escalated.v1")
    later = record(encoded(envelope(closed, types[0], time="2026-11-20T08:00:00.000001+08:00")), "complaints")
    marks = fingerprints(later, *(structured(closed, topic="complaints", type_=type_) for type_ in types))
    assert len(set(marks)) == 3


def test_the_catalogue_plays_no_part() -> None:
    decoder = ColumnarDecoder({"evaluations": frozenset({"type"})}, RETENTION)
    records = [structured(rating(score=score, contact_id="K")) for score in range(1, 11)]
    assert fingerprints(*records, decoder=decoder) == fingerprints(*records)


def test_what_no_indicator_counts_by_is_not_compared() -> None:
    """The limit that the README names: free text, phone numbers and ids."""
    changes = {"customer_id": "C2", "comment": "x", "phone": "+8613800138000", "reason": "slow", "contact_id": "K", "agent_id": "A"}
    marks = fingerprints(structured(rating()), *(structured(rating(**{name: value})) for name, value in changes.items()))
    assert len(set(marks)) == 1


def test_many_different_codes_are_told_apart() -> None:
    records = [structured(rating(region=f"R{n}")) for n in range(12_000)]
    marks = fingerprints(*records)
    assert len(set(marks)) > 11_990  # of 32 bits a few may fall together
    assert fingerprints(*records[:300]) == marks[:300]
