"""The formula language: what it takes, what it refuses and how it says so."""

import polars as pl
import pytest

from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.expressions import FormulaRefused, Kind, formula


@pytest.mark.parametrize("topic", SCHEMA)
def test_every_column_can_be_named(topic: str) -> None:
    for column in SCHEMA[topic]:
        assert formula(f"{column} IS NOT NULL", topic, "condition").columns == {column}


@pytest.mark.parametrize(
    "text",
    [
        "type = 'order.status_changed.v1' AND status IN ('completed', 'failed')",
        "first_try",
        "NOT (first_try AND duration_s > 10) OR region NOT IN ('NJ')",
        "coalesce(first_try, FALSE)",
        "status LIKE 'c%' AND starts_with(channel, 'w')",
        "'failed' = status",
        "duration_s BETWEEN 1 AND 2.5e1",
        "reason = 'it''s late'",
    ],
)
def test_a_condition_is_taken(text: str) -> None:
    assert formula(text, "orders", "condition").text == text


@pytest.mark.parametrize(
    "text", ["1", "duration_s / 60", "-duration_s", "status = 'failed'", "CASE WHEN first_try THEN 2 ELSE 1 END"]
)
def test_a_quantity_is_a_number_or_a_condition(text: str) -> None:
    assert formula(text, "orders", "quantity").text == text


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("stauts = 'failed'", "condition", "unknown column `stauts` of orders; did you mean `status`?"),
        ("Status = 'failed'", "condition", "unknown column `Status` of orders; did you mean `status`?"),
        ("phone IS NULL", "condition", "unknown column `phone`"),
        ("status = 'complete'", "condition", "`complete` is no status; did you mean `completed`?"),
        ("'complete' = status", "condition", "`complete` is no status"),
        ("status NOT IN ('failed', 'complete')", "condition", "`complete` is no status"),
        ("type = 'complaint.registered.v1'", "condition", "`complaint.registered.v1` is no type"),
        ("sum(duration_s)", "quantity", "unknown function `sum`"),
        ("read_csv('/etc/passwd')", "quantity", "unknown function `read_csv`"),
        ("now()", "quantity", "unknown function `now`"),
        ("(SELECT 1)", "quantity", "unknown column `SELECT`"),
        ("count(*)", "quantity", "unknown function `count`"),
        ("duration_s", "condition", "must be a condition (true or false), and `duration_s` is a number"),
        ("status", "quantity", "must be a number or a condition, and `status` is text"),
        ("NULL", "quantity", "must be a number or a condition"),
        ("status = 3", "condition", "column `status` is text, `3` is not"),
        ("duration_s = '3'", "condition", "column `duration_s` is a number, `'3'` is not"),
        ("first_try = 'yes'", "condition", "column `first_try` is true or false, `'yes'` is not"),
        ("region = NULL", "condition", "nothing equals NULL; write `region IS NULL`"),
        ("first_try IS TRUE", "condition", "write `= TRUE`"),
        ("first_try IS NOT TRUE", "condition", "write `<> TRUE`"),
        ("NOT status", "condition", "cannot be understood"),
        ("duration_s status", "quantity", "an operator is missing before `status`"),
        ("duration_s AS x", "quantity", "unknown column `AS`"),
        ("duration_s::int", "quantity", "`::int` is not part of the formula language"),
        ("duration_s -- status", "quantity", "`-- status` is not part of the formula language"),
        ("1; DROP TABLE x", "quantity", "`; DROP TABLE` is not part of the formula language"),
        ('"duration_s"', "quantity", "is not part of the formula language"),
        ("duration_s > 1e999", "condition", "`1e999` is too large a number"),
        ("duration_s >", "condition", "cannot be understood"),
        ("(" * 200 + "1" + ")" * 200, "quantity", "is nested deeper than 32"),
        ("1 + " * 1000 + "1", "quantity", "the limit is 2000"),
        ("", "condition", "is empty"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_its_word(text: str, kind: Kind, said: str) -> None:
    with pytest.raises(FormulaRefused) as refused:
        formula(text, "orders", kind)
    assert said in str(refused.value)


def test_a_comparison_with_a_field_that_is_not_there_is_unknown() -> None:
    frame = pl.DataFrame({"duration_s": [1.0, 20.0, None]})
    late = formula("duration_s > 10", "orders", "condition").expression
    assert frame.select(late=late)["late"].to_list() == [False, True, None]
