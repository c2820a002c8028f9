"""A row becomes an event: its id, its time, its values; or it is refused with a reason in the user's words."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.cli.imports.conversion import Converter, event_id
from closedloop.cli.imports.exports import Row
from closedloop.cli.imports.mapping_file import parse_mapping
from closedloop.cli.imports.times import TimeReader
from closedloop.common.events.rules import Refused

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MAPPING = """\
kind: evaluations
source: /sms
id: [contact, sent]
time: {{column: sent, zone: Asia/Shanghai}}
constants: {{kind: sms_rating, scale_min: 1, scale_max: 5, channel: sms}}
missing: ["NULL"]
fields:
  customer_id: customer
  region: {{column: city, map: {{南京: NJ, "025": NJ}}}}
  contact_id: contact
{fields}
"""
HEADER = ["contact", "sent", "customer", "city", "x"]


def convert(
    x: str, fields: str = "  score: x", *, sent: str = "2026-11-01 08:00:00", city: str = "南京", contact: str = "k1"
) -> Any:
    converter = Converter(parse_mapping(MAPPING.format(fields=fields), "m.yaml"), HEADER, lambda: NOW)
    return json.loads(converter.convert(Row(2, [contact, sent, "C1", city, x])).json)


def refusal(x: str = "3", fields: str = "  score: x", **cells: str) -> str:
    with pytest.raises(Refused) as caught:
        convert(x, fields, **cells)
    return str(caught.value)


def test_a_row_becomes_the_object_that_ingest_takes() -> None:
    assert convert("4") == {
        "id": "evaluation.submitted.v1/k1/2026-11-01 08:00:00",
        "source": "/sms",
        "type": "evaluation.submitted.v1",
        "occurred_at": "2026-11-01T08:00:00+08:00",
        "kind": "sms_rating",
        "scale_min": 1,
        "scale_max": 5,
        "channel": "sms",
        "customer_id": "C1",
        "region": "NJ",
        "contact_id": "k1",
        "score": 4.0,
    }


@pytest.mark.parametrize(
    ("cell", "fields", "value"),
    [
        (" 4.5 ", "  score: x", 4.5),
        ("是", "  satisfied: x", True),
        ("0", "  satisfied: x", False),
        ("好", "  satisfied: {column: x, map: {好: true, 差: false}}", True),
        ("?", "  satisfied: {column: x, map: {好: true}, otherwise: false}", False),
        ("", "  satisfied: {column: x, default: true}", True),
    ],
)
def test_cells_become_values_of_the_fields_type(cell: str, fields: str, value: object) -> None:
    [name] = [name for name in ("score", "satisfied") if name in fields]
    assert convert(cell, fields)[name] == value


@pytest.mark.parametrize(
    ("cell", "transform", "value"),
    [
        ("138 1234 5678", "{column: x, transform: phone}", "+8613812345678"),
        ("025-84001234", "{column: x, transform: phone}", "+862584001234"),
        ("+44 20 7946 0018", "{column: x, transform: phone}", "+442079460018"),
        ("0044 20 79460018", "{column: x, transform: phone, country: CN}", "+442079460018"),
    ],
)
def test_telephone_numbers_as_people_write_them_become_e164(cell: str, transform: str, value: str) -> None:
    assert convert(cell, f"  score: {{column: city, default: 1, map: {{南京: 1}}}}\n  phone: {transform}")["phone"] == value


def test_a_slug_makes_a_code_of_a_name() -> None:
    fields = "  score: {column: city, map: {南京: 1}}\n  product: {column: x, transform: slug}"
    assert convert("Côte d'Azur (FTTH)", fields)["product"] == "Cote_d_Azur_FTTH"
    assert "has no Latin letters or digits to make a code of; list its codes in a `map`" in refusal("宽带", fields)


@pytest.mark.parametrize("empty", ["", "  ", "NULL"])
def test_an_empty_cell_says_nothing(empty: str) -> None:
    fields = "  score: {column: city, map: {南京: 1}}\n  comment: x"
    assert "comment" not in convert(empty, fields)


@pytest.mark.parametrize(
    ("reason", "cells"),
    [
        ("score (column x): 'good' is not a number", {"x": "good"}),
        ("score (column x): '4,5' is not a number; list the words in a `map`, or use a decimal point", {"x": "4,5"}),
        ("score (column x): 'nan' is not a number", {"x": "nan"}),
        ("score (column x): must be on its scale, 1 to 5", {"x": "9"}),
        ("region (column city): 'Paris' is not in the mapping's `map`", {"city": "Paris"}),
        ("region (column city): is missing", {"city": ""}),
        ("time: is empty (column sent)", {"sent": " "}),
        ("time: '20.11.2026' is not an ISO 8601 date and time; give its pattern as `format`", {"sent": "20.11.2026"}),
        ("time: '2026-11-01' is not an ISO 8601 date and time", {"sent": "2026-11-01"}),
        ("time: is before 2000-01-01", {"sent": "1999-11-01 08:00:00"}),
        ("time: is more than 5 min ahead", {"sent": "2026-11-21 08:00:00"}),
    ],
)
def test_a_row_that_cannot_be_taken_says_which_column_and_why(reason: str, cells: dict[str, str]) -> None:
    assert refusal(**cells).startswith(reason)


def test_a_telephone_number_is_not_repeated_in_the_reason() -> None:
    fields = "  score: {column: city, map: {南京: 1}}\n  phone: {column: x, transform: phone}"
    reason = refusal("138123", fields)
    assert reason.startswith("phone (column x): is too short")
    assert "138123" not in reason


def test_the_type_of_an_event_can_come_from_a_column() -> None:
    text = (
        "{kind: complaints, source: /crm, id: no, time: {column: at},"
        " type: {column: state, map: {open: complaint.registered.v1, done: complaint.closed.v1}},"
        " constants: {region: NJ, topic_path: p}, fields: {customer_id: no, complaint_id: no, satisfied: ok, severity: prio}}"
    )
    converter = Converter(parse_mapping(text, "m.yaml"), ["no", "at", "state", "ok", "prio"], lambda: NOW)
    opened = json.loads(converter.convert(Row(2, ["7", "2026-11-01T08:00:00Z", "open", "", "2"])).json)
    closed = json.loads(converter.convert(Row(3, ["7", "2026-11-02T08:00:00Z", "done", "no", ""])).json)
    assert (opened["type"], closed["type"], closed["satisfied"]) == ("complaint.registered.v1", "complaint.closed.v1", False)
    assert opened["id"] != closed["id"], "both come from the same ticket and are two events"
    with pytest.raises(Refused, match="type: 'lost' is not in the mapping's `map`"):
        converter.convert(Row(4, ["8", "2026-11-02T08:00:00Z", "lost", "", ""]))


def test_an_id_of_a_live_feed_is_taken_over_as_it_is() -> None:
    text = (
        "{kind: enquiries, source: /live, id: {verbatim: eid}, time: {column: at, format: epoch_ms},"
        " constants: {region: NJ, topic_path: p}, fields: {customer_id: no, enquiry_id: no}}"
    )
    converter = Converter(parse_mapping(text, "m.yaml"), ["no", "at", "eid"], lambda: NOW)
    converted = converter.convert(Row(2, ["7", "1770000000000", "e-1"]))
    assert converted.id == "e-1"
    assert json.loads(converted.json)["occurred_at"] == "2026-02-02T02:40:00+00:00"


values = st.lists(st.text(max_size=12), min_size=2, max_size=2).filter(any)


@settings(deadline=None)
@given(values, values)
def test_rows_have_the_same_id_exactly_when_their_id_columns_are_the_same(one: list[str], other: list[str]) -> None:
    assert (event_id("t", one) == event_id("t", other)) == (one == other)


@settings(deadline=None)
@given(st.lists(st.text(max_size=400), min_size=1, max_size=3).filter(any))
def test_an_id_is_always_one_that_the_contract_takes(parts: list[str]) -> None:
    found = event_id("order.status_changed.v1", parts)
    assert 0 < len(found) <= 256
    assert not any(ord(char) < 32 or ord(char) == 127 for char in found)


def test_times_of_an_hour_that_does_not_exist_are_refused_and_of_one_that_comes_twice_are_the_first() -> None:
    reader = TimeReader("%d.%m.%Y %H:%M", "Europe/Berlin", "time")
    assert reader.read("25.10.2026 02:30").isoformat() == "2026-10-25T02:30:00+02:00"
    with pytest.raises(Refused, match="did not exist in Europe/Berlin"):
        reader.read("29.03.2026 02:30")


def test_a_time_with_an_offset_keeps_it() -> None:
    assert TimeReader("iso", "Asia/Shanghai", "time").read("2015-04-01T00:18:47-04:00").isoformat() == "2015-04-01T00:18:47-04:00"


def test_a_time_without_an_offset_needs_a_zone() -> None:
    with pytest.raises(Refused, match="has no offset; give the `zone`"):
        TimeReader("iso", None, "time").read("2026-11-01 08:00")
