"""Reading the catalogue: what an operator writes, and what they are told where it is wrong."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from closedloop.kpi.catalogue_files import CatalogueRefused, load_catalogue
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.threshold_entries import written
from closedloop.kpi.domain.thresholds import Mute, Threshold
from closedloop.kpi.schemas import IndicatorView
from kpi.events import frame, sums, value
from kpi.shipped import SHIPPED

ENTRY: dict[str, Any] = {
    "id": "web_failure_rate",
    "name_en": "Web failure rate",
    "name_zh": "网上失败率",
    "process": "e_channel",
    "phase": "in_process",
    "class": "operating",
    "unit": "percent",
    "better": "lower",
    "target": 2,
    "owner": "it_support",
    "topic": "orders",
    "filter": "channel = 'web' AND status IN ('completed', 'failed')",
    "numerator": "status = 'failed'",
    "denominator": 1,
    "dimensions": ["region", "product"],
    "threshold": {"window": "1h", "critical": 10, "minimum_sample": 20, "by": ["region"]},
}

EVERY_DAY = frozenset(range(7))


@pytest.fixture
def nothing_shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def write(folder: Path, *entries: object, name: str = "own.yaml") -> None:
    (folder / name).write_text(yaml.safe_dump({"indicators": list(entries)}, allow_unicode=True), "utf-8")


def problems(own: Path, shipped: Path) -> list[str]:
    with pytest.raises(CatalogueRefused) as refused:
        load_catalogue(own, shipped)
    assert all(problem in str(refused.value) for problem in refused.value.problems)
    return refused.value.problems


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_a_file_that_is_nested_too_deeply_is_refused_and_ends_nothing(own: Path, nothing_shipped: Path, depth: int) -> None:
    """libyaml's reader, faster otherwise, ends the process on the deeper one."""
    (own / "own.yaml").write_text("indicators: " + "[" * depth + "]" * depth, "utf-8")
    assert problems(own, nothing_shipped) == ["own.yaml: is nested too deeply, or holds itself"]


def test_an_operators_own_indicators_stand_beside_the_shipped_ones(own: Path) -> None:
    write(own, ENTRY)
    catalogue = load_catalogue(own)
    indicator = catalogue.counted("web_failure_rate")
    assert indicator is not None
    assert indicator.place == "own.yaml:2"
    assert indicator.threshold == Threshold("1h", 10.0, 20, ("region",))
    assert indicator.threshold.window_minutes == 60
    assert len(catalogue.indicators) == len(SHIPPED.indicators) + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"filtre": "x"}, "web_failure_rate: filtre: unknown key; did you mean `filter`?"),
        ({"owner": None}, "web_failure_rate: owner: must match"),
        ({"better": "up"}, "web_failure_rate: better: must be one of higher, lower, not `up`"),
        ({"better": True}, "better: must be one of higher, lower, not `True`"),
        ({"phase": "inprocess"}, "phase: must be one of ex_ante, in_process, ex_post, not `inprocess`; did you mean `in_process`?"),
        ({"target": "2 percent"}, "target: must be a number, not `2 percent`"),
        ({"target": float("nan")}, "target: must be a number, not `nan`"),
        ({"id": "Web Rate"}, "id: must match"),
        ({"name_en": ["a"]}, "name_en: must be text"),
        ({"topic": "order"}, "topic: must be one of"),
        ({"topic": "indicators"}, "topic: must be one of"),
        ({"filter": "chanel = 'web'"}, "filter: unknown column `chanel` of orders; did you mean `channel`?"),
        ({"filter": 1}, "filter: must be a condition"),
        ({"filter": None}, "filter: must be a formula, not nothing"),
        ({"numerator": "status"}, "numerator: must be a number or a condition"),
        ({"denominator": "count(status)"}, "denominator: unknown function `count`"),
        ({"dimensions": "region"}, "dimensions: must be a list of names"),
        ({"dimensions": ["region", "regoin"]}, "dimensions: `regoin` is no dimension of orders; did you mean `region`?"),
        ({"dimensions": ["region", "customer_id"]}, "`customer_id` is no dimension of orders"),
        ({"dimensions": ["product"]}, "dimensions: must name `region`"),
        ({"dimensions": ["region", "region"]}, "names a dimension twice"),
        ({"threshold": 10}, "threshold: must be a mapping"),
    ],
)
def test_a_wrong_field_is_named_with_file_entry_and_word(
    own: Path, nothing_shipped: Path, change: dict[str, Any], said: str
) -> None:
    entry = ENTRY | change
    if "dimensions" in change or "topic" in change:
        entry.pop("threshold")
    write(own, entry)
    found = problems(own, nothing_shipped)
    assert len(found) == 1
    assert found[0].startswith("own.yaml:2: ")
    assert said in found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": "2h"}, "threshold: window: must be one of 5m, 1h, 24h, 7d, 30d, not `2h`"),
        ({"minimum_sample": 0}, "threshold: minimum_sample: must be a whole number from 1 on, not `0`"),
        ({"critical": "10%"}, "threshold: critical: must be a number, not `10%`"),
        ({"critical": 1}, "threshold: critical: 1 is better than the target 2, although `better` is lower"),
        ({"by": ["channel"]}, "threshold: by: `channel` is no dimension of this indicator"),
        ({"per": ["region"]}, "threshold: per: unknown key"),
    ],
)
def test_a_wrong_threshold_is_named(own: Path, nothing_shipped: Path, change: dict[str, Any], said: str) -> None:
    write(own, ENTRY | {"threshold": ENTRY["threshold"] | change})
    found = problems(own, nothing_shipped)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("missing", ["id", "name_zh", "class", "owner", "topic", "filter", "numerator", "dimensions"])
def test_what_is_missing_is_named(own: Path, nothing_shipped: Path, missing: str) -> None:
    write(own, {key: item for key, item in ENTRY.items() if key not in (missing, "threshold")})
    assert [problem.split(": ", 2)[2] for problem in problems(own, nothing_shipped)] == [f"{missing}: is missing"]


def test_an_indicator_belongs_to_a_process_or_a_product(own: Path, nothing_shipped: Path) -> None:
    entry = {key: item for key, item in ENTRY.items() if key != "process"}
    write(own, entry)
    assert "process: is missing" in problems(own, nothing_shipped)[0]
    write(own, entry | {"product": "broadband"})
    assert load_catalogue(own, nothing_shipped).get("web_failure_rate") is not None


def test_how_much_a_period_must_rest_on_is_the_entrys(own: Path, nothing_shipped: Path) -> None:
    write(own, ENTRY | {"minimum_sample": 200})
    indicator = load_catalogue(own, nothing_shipped).get("web_failure_rate")
    assert indicator is not None
    assert (indicator.minimum_sample, IndicatorView.of(indicator).minimum_sample) == (200, 200)


def test_all_problems_are_said_at_once(own: Path, nothing_shipped: Path) -> None:
    write(own, ENTRY | {"unit": 3, "filter": "x = 1"}, ENTRY | {"id": "other", "better": "x"}, "text", name="a.yaml")
    write(own, ENTRY, name="b.yaml")
    (own / "c.yaml").write_text("indicators:\n  - id: [\n", "utf-8")
    found = problems(own, nothing_shipped)
    assert [problem.split(":")[0] for problem in found] == ["a.yaml"] * 4 + ["b.yaml", "c.yaml"]
    assert "is taken by the entry at a.yaml:2; a changed one needs a higher `version`" in found[4]


def test_an_operator_changes_a_shipped_indicator_by_a_higher_version_of_a_day(own: Path, nothing_shipped: Path) -> None:
    write(nothing_shipped, ENTRY, name="e_channel.yaml")
    write(own, ENTRY | {"version": 2, "valid_from": date(2026, 12, 1), "target": 1})
    before, after = (load_catalogue(own, nothing_shipped, date(2026, month, 1)).get("web_failure_rate") for month in (11, 12))
    assert before is not None and after is not None
    assert (before.version, before.target, before.place) == (1, 2, "e_channel.yaml:2")
    assert (after.version, after.target, after.place) == (2, 1, "own.yaml:2")


def test_what_will_not_fit_together_on_a_later_day_is_said_today(own: Path, nothing_shipped: Path) -> None:
    child = ENTRY | {"id": "child", "parent": "web_failure_rate"}
    without = {name: said for name, said in ENTRY.items() if name != "threshold"}
    write(own, ENTRY, child, without | {"version": 2, "valid_from": "2100-12-01"})
    [problem] = problems(own, nothing_shipped)
    assert "child: parent: `web_failure_rate` has no threshold" in problem
    assert problem.endswith("(from 2100-12-01 on)")


def test_a_version_that_is_no_longer_in_force_is_checked_too(own: Path, nothing_shipped: Path) -> None:
    write(own, ENTRY | {"filter": "chanel = 'web'"}, ENTRY | {"version": 2})
    [problem] = problems(own, nothing_shipped)
    assert "unknown column `chanel`" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("indicators:\n- id: a_b\n  unit: s\n  unit: h\n", "own.yaml:4: `unit` stands twice in one entry"),
        ("- id: a\n", "must begin with `indicators:`"),
        ("indicator:\n- id: a\n", "own.yaml:1: unknown key `indicator`; did you mean `indicators`?"),
        ("indicators: 3\n", "`indicators` must be a list of entries"),
        ("indicators:\n- !!python/object/apply:os.system [ls]\n", "own.yaml:2: could not determine a constructor"),
        ("a: b: c", "own.yaml:1: is not YAML"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(own: Path, nothing_shipped: Path, text: str, said: str) -> None:
    (own / "own.yaml").write_text(text, "utf-8")
    found = problems(own, nothing_shipped)
    assert len(found) == 1
    assert said in found[0]


def test_a_file_that_is_not_utf8_is_refused(own: Path, nothing_shipped: Path) -> None:
    (own / "own.yaml").write_bytes("indicators: # 网".encode("gb18030"))
    assert problems(own, nothing_shipped) == ["own.yaml: is not YAML in UTF-8"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, nothing_shipped: Path) -> None:
    assert "KPI_CATALOGUE_DIR" in problems(tmp_path / "nowhere", nothing_shipped)[0]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*ENTRY, "product", "formula", "note"]), anything))
def test_whatever_stands_in_an_entry_is_a_problem_in_words_and_no_crash(change: dict[str, Any]) -> None:
    indicator, found = read_entry(ENTRY | change, "own.yaml:1")
    assert (indicator is None) == bool(found)


def test_indicators_with_the_same_formula_share_their_sums(own: Path, nothing_shipped: Path) -> None:
    write(own, ENTRY, ENTRY | {"id": "web_failures", "denominator": "1 ", "dimensions": ["region"]})
    catalogue = load_catalogue(own, nothing_shipped)
    first, second = catalogue.from_events
    assert first.measures == second.measures
    # the denominator `1` is the sample itself
    assert len(catalogue.measures("orders")) == 2
    assert catalogue.dimensions("orders") == ("region", "product")
    assert catalogue.columns("orders") == {"channel", "status", "region", "product"}


def test_a_changed_formula_begins_anew(own: Path, nothing_shipped: Path) -> None:
    write(own, ENTRY, ENTRY | {"id": "app_failure_rate", "filter": "channel = 'app' AND status IN ('completed', 'failed')"})
    first, second = load_catalogue(own, nothing_shipped).from_events
    assert not {measure.name for measure in first.measures} & {measure.name for measure in second.measures}


def test_an_event_counts_only_where_its_formula_is_known(own: Path, nothing_shipped: Path) -> None:
    write(
        own, ENTRY | {"filter": "TRUE", "numerator": "duration_s / 60", "denominator": "first_try", "unit": "min", "threshold": {}}
    )
    entry = ENTRY | {"filter": "TRUE", "numerator": "duration_s / 60", "denominator": "first_try", "unit": "min"}
    write(own, {key: item for key, item in entry.items() if key != "threshold"})
    (indicator,) = load_catalogue(own, nothing_shipped).from_events
    events = frame(
        "orders",
        {"duration_s": 120.0, "first_try": True},
        {"duration_s": 60.0, "first_try": False},
        {"duration_s": None, "first_try": True},
        {"duration_s": 60.0, "first_try": None},
        {"duration_s": 1e300, "first_try": True},
    )
    assert sums(indicator, events) == (3.0, 1.0, 2.0)
    assert value(indicator, events) == 3.0


def test_the_value_of_nothing_is_unknown_for_a_ratio_and_zero_for_a_count() -> None:
    catalogue: Catalogue = load_catalogue()
    ratio, count = catalogue.counted("order_failure_rate"), catalogue.counted("complaints_registered")
    assert ratio is not None and count is not None
    assert ratio.value(0.0, 0.0) is None
    assert ratio.value(1.0, 4.0) == 25.0
    assert count.value(0.0, None) == 0.0


@given(st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440))
def test_times_in_which_no_breach_begins_are_shown_as_they_are_written(weekdays: frozenset[int], start: int, end: int) -> None:
    assume(start != end)
    mute = Mute(weekdays, start, end)
    threshold = ENTRY["threshold"] | {"mute": [written(mute)]}
    chart = {"chart": "p", "period": "day", "mute": [written(mute)]}
    indicator, found = read_entry(ENTRY | {"threshold": threshold, "control": chart}, "own.yaml:1")
    assert not found and isinstance(indicator, EventIndicator)
    assert indicator.threshold is not None and indicator.threshold.mute == (mute,)
    view = IndicatorView.of(indicator)
    assert view.threshold is not None and view.threshold.mute == [written(mute)]
    assert view.control is not None and view.control.mute == [written(mute)]


@pytest.mark.parametrize(
    ("mute", "shown"),
    [
        (Mute(frozenset({5, 6}), 0, 1440), "sat,sun 00:00-24:00"),
        (Mute(EVERY_DAY, 1320, 360), "22:00-06:00"),
        (Mute(EVERY_DAY, 0, 1440, date(2026, 10, 1), date(2026, 10, 7)), "2026-10-01..2026-10-07 00:00-24:00"),
        (Mute(EVERY_DAY, 1200, 120, date(2026, 12, 31), date(2026, 12, 31)), "2026-12-31 20:00-02:00"),
    ],
)
def test_a_time_is_written_with_its_days_unless_it_is_daily(mute: Mute, shown: str) -> None:
    assert written(mute) == shown
    indicator, found = read_entry(ENTRY | {"threshold": ENTRY["threshold"] | {"mute": [shown]}}, "own.yaml:1")
    assert not found and isinstance(indicator, EventIndicator)
    assert indicator.threshold is not None and indicator.threshold.mute == (mute,)


@pytest.mark.parametrize(
    ("mute", "said"),
    [
        ("2026-10-01..2026-09-07 00:00-24:00", "of which the last is not before the first"),
        ("2026-02-30 00:00-24:00", "must be a day such as 2026-11-20, not `2026-02-30`"),
        ("2026-10-01..", "must hold times such as"),
        ("mon,sum 00:00-24:00", "`sum` is no day of the week"),
    ],
)
def test_a_time_that_is_none_is_named(mute: str, said: str) -> None:
    _, [problem] = read_entry(ENTRY | {"threshold": ENTRY["threshold"] | {"mute": [mute]}}, "own.yaml:1")
    assert problem.startswith("own.yaml:1: web_failure_rate: threshold: mute: ")
    assert said in problem
