"""Entries that are reported or composed: what an operator writes, and what they are told where it is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.catalogue_files import CatalogueRefused, load_catalogue
from closedloop.kpi.domain.catalogue import CompositeIndicator, ReportedIndicator
from closedloop.kpi.domain.composition import composition
from closedloop.kpi.domain.entries import read_entry
from kpi.test_catalogue import ENTRY

REPORTED: dict[str, Any] = {
    "id": "hall_waiting_time",
    "name_en": "Mean waiting time",
    "name_zh": "平均等候时长",
    "process": "business_hall",
    "phase": "in_process",
    "class": "operating",
    "unit": "min",
    "better": "lower",
    "target": 10,
    "warning": 15,
    "owner": "business_hall",
    "collection": "system_extract",
    "granularity": "month",
    "reported": {"by": "queuing system", "numerator": "total waiting time in minutes", "denominator": "customers served"},
    "dimensions": ["region", "channel"],
}
PLAIN = {key: REPORTED[key] for key in REPORTED if key not in ("collection", "reported", "target", "warning")}
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([[], ["a"], {}, {"by": 1}])
)
COUNTED = {key: item for key, item in ENTRY.items() if key != "threshold"}
COMPOSITE: dict[str, Any] = PLAIN | {"id": "waiting_per_failure", "composite": "100 * hall_waiting_time / web_failure_rate"}
COMPOSITE["dimensions"] = ["region"]


def problems(folder: Path, *entries: object) -> list[str]:
    (folder / "own").mkdir()
    (folder / "shipped").mkdir()
    (folder / "own" / "own.yaml").write_text(yaml.safe_dump({"indicators": list(entries)}, allow_unicode=True), "utf-8")
    try:
        load_catalogue(folder / "own", folder / "shipped")
    except CatalogueRefused as refused:
        return refused.problems
    return []


@pytest.mark.parametrize(
    ("reported", "quantities"),
    [
        ({"by": "BOSS", "numerator": "a", "denominator": "b"}, ("numerator", "denominator")),
        ({"by": "BOSS", "numerator": "a", "level": True}, ("numerator",)),
        ({"by": "scanner"}, ("value",)),
    ],
)
def test_a_reported_indicator_is_a_ratio_a_count_or_a_value(reported: dict[str, Any], quantities: tuple[str, ...]) -> None:
    indicator, found = read_entry(REPORTED | {"reported": reported}, "own.yaml:1")
    assert found == []
    assert isinstance(indicator, ReportedIndicator)
    assert indicator.quantities == quantities
    assert indicator.is_level == reported.get("level", False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"granularity": "week"}, "granularity: must be one of day, month, quarter, year, not `week`"),
        ({"granularity": "minute"}, "granularity: must be one of day, month, quarter, year, not `minute`"),
        (
            {"collection": "events"},
            "collection: must be one of system_extract, mystery_customer, third_party, survey, not `events`",
        ),
        ({"collection": "mystery customer"}, "did you mean `mystery_customer`?"),
        ({"reported": "BOSS"}, "reported: must be a mapping with by"),
        ({"reported": {}}, "reported: by: is missing"),
        ({"reported": {"by": ""}}, "reported: by: must be text"),
        (
            {"reported": {"by": "BOSS", "denominator": "b"}},
            "reported: numerator: is missing; a ratio has numerator and denominator",
        ),
        ({"reported": {"by": "BOSS", "levels": True}}, "reported: levels: unknown key; did you mean `level`?"),
        ({"reported": {"by": "BOSS", "level": "yes"}}, "reported: level: must be true or false, not `yes`"),
        ({"topic": "orders"}, "topic: unknown key"),
        ({"threshold": {}}, "threshold: unknown key"),
        ({"warning": 5}, "warning: 5 is better than the target 10, although `better` is lower"),
        ({"dimensions": ["channel"]}, "dimensions: must name `region`"),
    ],
)
def test_a_wrong_field_of_a_reported_one_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, REPORTED | change)
    assert len(found) == 1
    assert found[0].startswith("own.yaml:2: hall_waiting_time: ")
    assert said in found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"composite": "hall_waiting_time / web_failure_rat"},
            "`web_failure_rat` is no indicator's id; did you mean `web_failure_rate`?",
        ),
        ({"composite": "hall_waiting_time +"}, "composite: cannot be understood"),
        ({"composite": "hall_waiting_time ; 1"}, "composite: `; 1` is not part of a composite"),
        ({"composite": "sum(hall_waiting_time)"}, "composite: unknown function `sum` (there are abs, coalesce, greatest, least)"),
        ({"composite": "1 + 1"}, "composite: must name 1 to 20 indicators by their ids, and names 0"),
        ({"composite": 3}, "composite: must be a formula over ids of indicators, not `3`"),
        ({"composite": "2 * waiting_per_failure"}, "composite: `waiting_per_failure` is a composite itself; name its parts"),
        ({"dimensions": ["region", "product"]}, "composite: `hall_waiting_time` is not told apart by product"),
        ({"granularity": "hour"}, "granularity: must be one of minute, day, month, quarter, year, not `hour`"),
        ({"reported": {"by": "BOSS"}}, "collection: is missing"),
    ],
)
def test_a_wrong_field_of_a_composite_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, COUNTED, REPORTED, COMPOSITE | change)
    assert any(said in problem for problem in found)
    assert all(problem.startswith("own.yaml:") and ": waiting_per_failure: " in problem for problem in found)


def test_a_composite_of_events_and_reports_is_read() -> None:
    indicator, found = read_entry(COMPOSITE, "own.yaml:1")
    assert found == []
    assert isinstance(indicator, CompositeIndicator)
    assert indicator.composite.parts == ("hall_waiting_time", "web_failure_rate")
    assert indicator.collection == "derived"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([REPORTED, COMPOSITE]), st.dictionaries(st.sampled_from([*REPORTED, "composite"]), scalars))
def test_whatever_stands_in_such_an_entry_is_a_problem_in_words(entry: dict[str, Any], change: dict[str, Any]) -> None:
    indicator, found = read_entry(entry | change, "own.yaml:1")
    assert (indicator is None) == bool(found)


def test_unknown_stays_unknown_in_a_composite() -> None:
    ratio = composition("10000 * faults / customers")
    assert ratio.values({"faults": [3.0, 3.0, 3.0, None], "customers": [1000.0, None, 0.0, 1.0]}) == [30.0, None, None, None]
    assert composition("coalesce(a, 0) - b").values({"a": [None], "b": [2.0]}) == [-2.0]
