"""Distinct numbers and quantiles in catalogue entries: what is taken, and what is said of what is not."""

from typing import Any

import pytest

from closedloop.kpi.domain.aggregates import Distinct, Quantile
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.entries import read_entry

ENTRY: dict[str, Any] = {
    "id": "own_one",
    "name_en": "x",
    "name_zh": "x",
    "process": "x",
    "phase": "ex_post",
    "class": "operating",
    "unit": "x",
    "better": "lower",
    "owner": "x",
    "topic": "orders",
    "filter": "status = 'completed'",
    "dimensions": ["region"],
}


def read(**changes: Any) -> EventIndicator:
    indicator, problems = read_entry(ENTRY | changes, "own.yaml:2")
    assert problems == []
    assert isinstance(indicator, EventIndicator)
    return indicator


def problem(**changes: Any) -> str:
    indicator, problems = read_entry(ENTRY | changes, "own.yaml:2")
    assert indicator is None
    (found,) = problems
    assert found.startswith("own.yaml:2: own_one: ")
    return found.removeprefix("own.yaml:2: own_one: ")


def test_distinct_numbers_and_quantiles_are_read_and_shown() -> None:
    both = read(numerator={"distinct": "customer_id", "where": "channel = 'web'"}, denominator={"distinct": "customer_id"})
    assert isinstance(both.numerator, Distinct) and isinstance(both.denominator, Distinct)
    assert both.numerator.text == "distinct customer_id where channel = 'web'"
    slow = read(numerator={"quantile": 0.95, "of": "duration_s / 60"})
    assert isinstance(slow.numerator, Quantile)
    assert slow.numerator.text == "quantile 0.95 of duration_s / 60"
    assert slow.value(3.0, None) == 3.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numerator": {"median": "duration_s"}}, "numerator: must be a formula, or a mapping with `distinct` or `quantile`"),
        ({"numerator": {"quantile": 95, "of": "duration_s"}}, "numerator: quantile: must be a share from 0.001 to 0.999"),
        ({"numerator": {"quantile": 0.9}}, "numerator: of: is missing"),
        ({"numerator": {"quantile": 0.9, "of": "status"}}, "numerator: of: must be a number or a condition"),
        ({"numerator": {"distinct": "customerid"}}, "did you mean `customer_id`?"),
        ({"numerator": {"distinct": "customer_id", "were": "true"}}, "numerator: were: unknown key; did you mean `where`?"),
        ({"numerator": {"distinct": "customer_id", "where": "duration_s"}}, "numerator: where: must be a condition"),
        ({"numerator": "1", "denominator": {"quantile": 0.9, "of": "duration_s"}}, "denominator: a quantile is no denominator"),
        ({"numerator": {"quantile": 0.9, "of": "duration_s"}, "denominator": 1}, "denominator: a quantile has none; leave it out"),
        (
            {
                "numerator": {"distinct": "customer_id"},
                "threshold": {"window": "1h", "critical": 9, "minimum_sample": 1},
            },
            "threshold: distinct numbers and quantiles are estimates and are not judged; put it on a share instead",
        ),
        (
            {"numerator": {"quantile": 0.9, "of": "duration_s"}, "control": {"chart": "xmr", "period": "day"}},
            "control: distinct numbers and quantiles are estimates and are not judged; put it on a share instead",
        ),
    ],
)
def test_a_mistake_is_named_with_its_way_out(changes: dict[str, Any], said: str) -> None:
    assert said in problem(**changes)


def test_without_a_topic_only_that_is_said() -> None:
    entry = {name: value for name, value in ENTRY.items() if name != "topic"} | {"numerator": {"distinct": "customer_id"}}
    assert read_entry(entry, "own.yaml:2")[1] == ["own.yaml:2: own_one: topic: is missing"]
