"""The frame's columns say the same as the language's own rules, row by row."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.common.events.model import EvaluationData
from closedloop.common.events.rules import is_dissatisfied
from closedloop.kpi.domain.columns import AT, COLUMNS, DERIVED, DIMENSIONS, MINUTE, SCHEMA, raw_columns, with_derived

numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def evaluations(draw: st.DrawFn) -> EvaluationData:
    low = draw(st.none() | st.sampled_from([0.0, 1.0, -3.0]) | numbers)
    high = draw(st.none() | st.sampled_from([5.0, 10.0, 100.0]) | numbers)
    return EvaluationData(
        customer_id="C1",
        region="NJ",
        kind="survey",
        score=draw(st.none() | st.integers(1, 10).map(float) | numbers),
        satisfied=draw(st.none() | st.booleans()),
        scale_min=low,
        scale_max=high if high != (1.0 if low is None else low) else None,
    )


def frame_of(data: list[EvaluationData]) -> pl.DataFrame:
    names = ("score", "satisfied", "scale_min", "scale_max")
    return pl.DataFrame(
        {name: [getattr(item, name) for item in data] for name in names} | {AT: [datetime(2026, 11, 20, tzinfo=UTC)] * len(data)},
        schema={name: COLUMNS["evaluations"][name] for name in (*names, AT)},
    )


@settings(deadline=None)
@given(st.lists(evaluations().filter(lambda e: (e.scale_max or 10.0) != (e.scale_min or 1.0)), min_size=1), st.floats(0, 1))
def test_dissatisfied_is_the_rule_of_the_language(data: list[EvaluationData], below: float) -> None:
    frame = with_derived(frame_of(data), "evaluations", dissatisfied_below=below)
    assert frame["dissatisfied"].to_list() == [is_dissatisfied(item, below) for item in data]


def test_satisfaction_is_the_place_on_the_scale() -> None:
    def rated(score: float | None, low: float | None = None, high: float | None = None) -> EvaluationData:
        return EvaluationData(customer_id="C1", region="NJ", kind="survey", score=score, scale_min=low, scale_max=high)

    data = [rated(1), rated(10), rated(5.5), rated(3, 1, 5), rated(0, 0, 100), rated(None)]
    assert with_derived(frame_of(data), "evaluations")["satisfaction"].to_list() == [0.0, 1.0, 0.5, 0.5, 0.0, None]


@settings(deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_minute_is_the_whole_minute_of_event_time(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    frame = with_derived(pl.DataFrame({AT: [at]}, schema={AT: COLUMNS["orders"][AT]}), "orders")
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=frame[MINUTE].item())
    assert begin <= at < begin + timedelta(minutes=1)


def test_a_ticket_has_a_region_only_where_it_has_one() -> None:
    raw = pl.DataFrame({"regions": [["NJ"], ["NJ", "SZ"], []]}, schema={"regions": COLUMNS["tickets"]["regions"]})
    assert with_derived(raw, "tickets", frozenset({"region"}))["region"].to_list() == ["NJ", None, None]


def test_derived_columns_have_the_types_that_are_declared() -> None:
    for topic, columns in COLUMNS.items():
        frame = with_derived(pl.DataFrame(schema=columns), topic)
        assert dict(frame.schema) == SCHEMA[topic]
        for name in DERIVED[topic]:
            needed = frozenset({name})
            alone = pl.DataFrame(schema={raw: columns[raw] for raw in raw_columns(topic, needed)})
            assert with_derived(alone, topic, needed)[name].dtype == SCHEMA[topic][name]


def test_no_personal_data_stands_in_a_frame() -> None:
    assert not any(personal in SCHEMA[topic] for topic in SCHEMA for personal in ("phone", "text", "comment"))


def test_dimensions_are_text() -> None:
    for topic, names in DIMENSIONS.items():
        assert "region" in names
        assert all(SCHEMA[topic][name] == pl.String for name in names)
