"""What Prometheus sees of the indicators, on a real PostgreSQL."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from prometheus_client import REGISTRY

from closedloop.common.auth.principal import Principal
from closedloop.kpi import statement_store
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.domain.catalogue import Catalogue, ReportedIndicator
from closedloop.kpi.domain.months import earlier, month_of
from closedloop.kpi.domain.statement import Series
from closedloop.kpi.domain.states import Standing, State
from closedloop.kpi.domain.windows import minute_of
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.gauges import Gauges
from closedloop.kpi.measurements import Measurements, Report
from closedloop.kpi.period_figures import PeriodFigures
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.values import Values
from kpi.counting import Engine
from kpi.records import encoded, envelope, numbered, rating

OWN = """\
indicators:
  - id: bad_share
    name_en: Bad share
    name_zh: 不满意
    process: hotline
    phase: ex_post
    class: perception
    unit: percent
    better: lower
    target: 10
    owner: hotline
    topic: evaluations
    filter: kind = 'survey'
    numerator: dissatisfied
    denominator: 1
    dimensions: [region, channel, product]
    export: [region, channel]
    threshold: {window: 1h, critical: 40, minimum_sample: 30, by: [region]}
  - id: surveys
    name_en: Surveys
    name_zh: 调查量
    product: broadband
    phase: ex_post
    class: perception
    unit: surveys
    better: higher
    owner: hotline
    topic: evaluations
    filter: kind = 'survey'
    numerator: 1
    dimensions: [region]
  - id: lines
    name_en: Lines
    name_zh: 线路数
    product: broadband
    phase: in_process
    class: operating
    unit: lines
    better: higher
    owner: network_operations
    dimensions: [region]
    collection: system_extract
    granularity: month
    export: [region]
    reported: {by: network management, numerator: lines in service, level: true}
  - id: surveys_per_line
    name_en: Surveys per line
    name_zh: 每线调查量
    product: broadband
    phase: ex_post
    class: perception
    unit: surveys
    better: higher
    owner: hotline
    dimensions: [region]
    granularity: month
    export: [region]
    composite: surveys / lines
  - id: lines_faultless
    name_en: Lines without a fault
    name_zh: 无故障率
    product: broadband
    phase: ex_post
    class: operating
    unit: percent
    better: higher
    target: 99
    warning: 98
    owner: network_operations
    dimensions: [region]
    collection: system_extract
    granularity: month
    reported: {by: network management}
"""


UTC_ZONE = ZoneInfo("UTC")
MEI = Principal("mei", "test", frozenset(), None)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "own.yaml").write_text(OWN)
    return load_catalogue(None, tmp_path / "shipped")


async def counted(kpi_pool: Any, catalogue: Catalogue) -> Engine:
    """Two ratings in Nanjing over the web, one without channel, one in Suzhou, three minutes ago."""
    at = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    said = [("NJ", "web", 1), ("NJ", "web", 9), ("NJ", None, 1), ("SZ", "app", 9)]
    events = [
        envelope(rating(region=region, score=score, **({"channel": channel} if channel else {})), id=f"g{n}", time=at)
        for n, (region, channel, score) in enumerate(said)
    ]
    engine = Engine(kpi_pool, catalogue)
    assert await engine.take(numbered([encoded(event) for event in events], appended=datetime.now(UTC))) == []
    return engine


def gauges_over(engine: Engine, most: int = 1000) -> Gauges:
    reported = ReportedValues(Measurements(engine.pool, UTC_ZONE), UTC_ZONE)
    values = Values(EventValues(engine.reader, engine.catalogue, UTC_ZONE), reported, engine.catalogue)
    of_periods = PeriodFigures(engine.pool, values, engine.catalogue, UTC_ZONE)
    return Gauges(engine.pool, engine.reader, of_periods, engine.catalogue, "1h", UTC_ZONE, most)


def seen(metric: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Labels → value of one metric, as a scrape sees it."""
    samples = [sample for family in REGISTRY.collect() for sample in family.samples if sample.name == metric]
    return {tuple(sorted(sample.labels.items())): sample.value for sample in samples}


def labels(indicator: str, **dimensions: str) -> tuple[tuple[str, str], ...]:
    own: Mapping[str, str] = {"split_by": ",".join(sorted(dimensions))} if dimensions else {}
    return tuple(sorted({"indicator": indicator, **dimensions, **own}.items()))


async def test_the_whole_and_each_exported_combination_have_their_figures(engine: Engine, catalogue: Catalogue) -> None:
    counted_ = await counted(engine.pool, catalogue)
    await gauges_over(counted_).refresh()
    assert seen("kpi_indicator_value") == {
        labels("bad_share"): 50,
        labels("bad_share", region="NJ", channel="web"): 50,
        labels("bad_share", region="SZ", channel="app"): 0,
        labels("surveys"): 4,
        labels("surveys", region="NJ"): 3,
        labels("surveys", region="SZ"): 1,
    }
    assert seen("kpi_indicator_numerator")[labels("bad_share")] == 2
    assert seen("kpi_indicator_denominator") == {
        labels("bad_share"): 4,
        labels("bad_share", region="NJ", channel="web"): 2,
        labels("bad_share", region="SZ", channel="app"): 1,
    }
    assert seen("kpi_indicator_sample")[labels("surveys", region="NJ")] == 3
    assert seen("kpi_indicator_target") == {labels("bad_share"): 10, labels("lines_faultless"): 99}
    assert {dict(found)["indicator"]: dict(found)["collection"] for found in seen("kpi_indicator_info")} == {
        "bad_share": "events",
        "surveys": "events",
        "lines": "system_extract",
        "surveys_per_line": "derived",
        "lines_faultless": "system_extract",
    }
    shown = sum(len(seen(f"kpi_indicator_{what}")) for what in ("value", "numerator", "denominator", "sample", "target", "info"))
    assert REGISTRY.get_sample_value("kpi_exported_series") == shown
    assert REGISTRY.get_sample_value("kpi_exported_series_left_out") == 0


async def test_a_series_that_is_judged_has_its_state_also_where_no_event_is_left(engine: Engine, catalogue: Catalogue) -> None:
    standing: dict[str, State] = {"NJ": "critical", "SZ": "ok", "WX": "no_data", "CZ": "pending"}
    series = [Series("bad_share", {"region": region}, 1, Standing(state)) for region, state in standing.items()]
    chart = [Series("bad_share", {"region": "SZ"}, 1, Standing("warning"), judged_by="control")]
    withdrawn = [Series("no_longer_there", {"region": "NJ"}, 1, Standing("critical"))]
    async with engine.pool.acquire() as connection:
        await statement_store.write_series(connection, "evaluations", series + chart + withdrawn, {}, [])
    await gauges_over(Engine(engine.pool, catalogue)).refresh()
    # Wuxi is not known, and in Suzhou the chart is worse than the threshold
    assert seen("kpi_indicator_state") == {
        labels("bad_share", region="NJ"): 3,
        labels("bad_share", region="SZ"): 2,
        labels("bad_share", region="CZ"): 1,
    }


async def test_what_nobody_need_be_told_of_and_what_nobody_answers_is_shown(engine: Engine, catalogue: Catalogue) -> None:
    now = datetime.now(UTC)
    breach = Standing("critical", 1, 2)
    series = [Series("bad_share", {"region": region}, 1, breach) for region in ("NJ", "SZ", "HZ", "WX")]
    chart = [Series("bad_share", {"region": "WX"}, 1, breach, judged_by="control")]
    async with engine.pool.acquire() as connection, connection.transaction():
        await statement_store.write_series(connection, "evaluations", series + chart, {}, [])
    milder = [Series("bad_share", {"region": "CZ"}, 1, Standing("warning", 1, 1), judged_by="control")]
    async with engine.pool.acquire() as connection, connection.transaction():
        bad = [Series("bad_share", {"region": "CZ"}, 1, breach)]
        await statement_store.write_series(connection, "evaluations", milder + bad, {}, [])
    await engine.pool.execute("UPDATE statement_series SET escalations = 3 WHERE dimensions->>'region' = 'SZ'")
    said = [("NJ", "acknowledged_at", now), ("SZ", "suppressed_by", "silenced"), ("HZ", "escalations", 4)]
    for region, column, value in [*said, ("WX", "acknowledged_at", now), ("CZ", "acknowledged_at", now)]:
        await engine.pool.execute(
            f"UPDATE statement_series SET {column} = $1 WHERE dimensions->>'region' = $2 AND judged_by = 'threshold'",
            value,
            region,
        )
    await gauges_over(Engine(engine.pool, catalogue)).refresh()
    # of WX the chart's breach waits for an answer, and is as bad; of CZ the chart's is milder than the one that was answered
    assert seen("kpi_indicator_quiet") == {labels("bad_share", region=region): 1 for region in ("NJ", "SZ", "CZ")}
    assert seen("kpi_indicator_escalations") == {labels("bad_share", region="HZ"): 4}


async def test_what_falls_short_and_is_not_worked_on_is_shown_by_owner(engine: Engine, catalogue: Catalogue) -> None:
    for since, indicator_id, gone in (
        ("2026-08", "bad_share", None),
        ("2026-08", "lines_faultless", None),
        ("2026-07", "lines", "2026-08"),
    ):
        await engine.pool.execute(
            "INSERT INTO shortcoming (indicator_id, since, gone) VALUES ($1, $2, $3)", indicator_id, since, gone
        )
    for indicator_id, due, state in (
        ("bad_share", "2026-01-01", "open"),
        ("bad_share", "2026-01-02", "open"),
        ("bad_share", "2099-01-01", "open"),
        ("lines_faultless", "2026-01-01", "done"),
        ("that_went", "2026-01-01", "open"),
    ):
        await engine.pool.execute(
            """INSERT INTO improvement (id, indicator_id, text, owner, due, state, created_by)
               VALUES (gen_random_uuid(), $1, 'x', 'somebody', $2, $3, 'mei')""",
            indicator_id,
            date.fromisoformat(due),
            state,
        )
    gauges = gauges_over(Engine(engine.pool, catalogue))
    await gauges.refresh()
    assert seen("kpi_shortcomings_open") == {(("unit", "hotline"),): 1, (("unit", "network_operations"),): 1}
    assert seen("kpi_shortcomings_without_measure") == {(("unit", "network_operations"),): 1}
    assert seen("kpi_improvements_overdue") == {(("unit", "hotline"),): 2, (("unit", "nobody"),): 1}
    await engine.pool.execute("UPDATE shortcoming SET gone = '2026-09' WHERE gone IS NULL")
    await gauges.refresh()
    assert seen("kpi_shortcomings_open") == {}


async def test_of_what_is_judged_by_its_period_the_whole_has_its_state_and_a_region_that_is_not_ok(
    engine: Engine, catalogue: Catalogue
) -> None:
    states: list[tuple[dict[str, str], State]] = [({}, "ok"), ({"region": "NJ"}, "ok"), ({"region": "SZ"}, "warning")]
    series = [Series("lines_faultless", dimensions, 1, Standing(state)) for dimensions, state in states]
    async with engine.pool.acquire() as connection:
        await statement_store.write_series(connection, "periods", series, {}, [])
    await gauges_over(Engine(engine.pool, catalogue)).refresh()
    assert seen("kpi_indicator_state") == {labels("lines_faultless"): 0, labels("lines_faultless", region="SZ"): 2}


async def reported(engine: Engine, catalogue: Catalogue, indicator_id: str, period: str, **figures: float | str) -> None:
    indicator = catalogue.get(indicator_id)
    assert isinstance(indicator, ReportedIndicator)
    row = {"period": period, "method": "extract", "file": "lines.csv"} | figures
    status, answer = await Measurements(engine.pool, UTC_ZONE).take(indicator, Report(MEI, [row], None, b""))
    assert status == 201, answer


async def test_what_is_reported_or_composed_is_told_apart_where_its_entry_asks_for_it(engine: Engine, catalogue: Catalogue) -> None:
    month = earlier(month_of(minute_of(datetime.now(UTC)), UTC_ZONE), 1)
    surveys = [envelope(rating(score=9, region="NJ"), id=f"s{n}", time=f"{month}-15T12:00:00Z") for n in range(5)]
    counting = Engine(engine.pool, catalogue)
    assert await counting.take(numbered([encoded(event) for event in surveys], appended=datetime.now(UTC))) == []
    for region, lines in (("NJ", 20), ("SZ", 30)):
        await reported(engine, catalogue, "lines", month, numerator=lines, region=region)
        await reported(engine, catalogue, "lines_faultless", month, value=97, region=region)
    await gauges_over(counting).refresh()
    values = {found: value for found, value in seen("kpi_indicator_value").items() if dict(found)["indicator"] not in ("surveys",)}
    assert values == {
        labels("lines"): 50,
        labels("lines", region="NJ"): 20,
        labels("lines", region="SZ"): 30,
        labels("surveys_per_line"): 0.1,
        labels("surveys_per_line", region="NJ"): 0.25,
        labels("surveys_per_line", region="SZ"): 0,
        labels("lines_faultless"): 97,  # whose entry asks for nothing
    }


async def test_what_is_reported_or_composed_has_the_figures_of_the_last_period_that_is_known(
    engine: Engine, catalogue: Catalogue
) -> None:
    month = month_of(minute_of(datetime.now(UTC)), UTC_ZONE)
    last, before = earlier(month, 1), earlier(month, 2)
    surveys = [envelope(rating(score=9), id=f"s{n}", time=f"{last}-15T12:00:00Z") for n in range(5)]
    counting = Engine(engine.pool, catalogue)
    assert await counting.take(numbered([encoded(event) for event in surveys], appended=datetime.now(UTC))) == []
    gauges = gauges_over(counting)
    await gauges.refresh()
    assert {found for found in seen("kpi_indicator_value") if dict(found)["indicator"] not in ("bad_share", "surveys")} == set()

    async def report(indicator_id: str, period: str, **figures: float | str) -> None:
        await reported(engine, catalogue, indicator_id, period, **figures)

    await report("lines", before, numerator=50)
    await report("lines_faultless", before, value=97)
    await gauges.refresh()
    assert seen("kpi_indicator_value")[labels("lines_faultless")] == 97
    assert seen("kpi_indicator_numerator")[labels("lines")] == 50
    assert seen("kpi_indicator_value")[labels("surveys_per_line")] == 0.1
    await report("lines_faultless", last, value=98.5)
    await gauges.refresh()
    assert seen("kpi_indicator_value")[labels("lines_faultless")] == 98.5


async def test_what_is_more_than_the_bound_is_left_out_and_said_once(engine: Engine, catalogue: Catalogue) -> None:
    counted_ = await counted(engine.pool, catalogue)
    gauges = gauges_over(counted_, 7 + 7 + 3)
    with structlog.testing.capture_logs() as logs:
        await gauges.refresh()
        await gauges.refresh()
    assert seen("kpi_indicator_sample").keys() == {labels("bad_share"), labels("surveys"), labels("surveys", region="NJ")}
    assert REGISTRY.get_sample_value("kpi_exported_series") == 17
    assert REGISTRY.get_sample_value("kpi_exported_series_left_out") == 11
    assert [line["left_out"] for line in logs if line["event"] == "series left out of metrics"] == [11]


async def test_a_thousand_regions_that_a_producer_made_up_cost_their_series_only(engine: Engine, catalogue: Catalogue) -> None:
    at = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    regions = [f"X{n}" for n in range(1000)] + ["NJ", "NJ", "NJ"]
    events = [envelope(rating(region=region, score=9), id=f"x{n}", time=at) for n, region in enumerate(regions)]
    counting = Engine(engine.pool, catalogue)
    assert await counting.take(numbered([encoded(event) for event in events], appended=datetime.now(UTC))) == []
    async with engine.pool.acquire() as connection:
        standings = {"X998": Standing("ok"), "X999": Standing("critical")}
        series = [Series("bad_share", {"region": region}, 1, standing) for region, standing in standings.items()]
        await statement_store.write_series(connection, "evaluations", series, {}, [])
    await gauges_over(counting, 7 + 7 + 4 + 3).refresh()
    whole = {labels("bad_share"), labels("surveys")}
    assert seen("kpi_indicator_sample").keys() == whole | {labels("surveys", region=region) for region in ("X999", "NJ")}
    assert seen("kpi_indicator_state") == {labels("bad_share", region="X999"): 3}
    # three of each other region, and the state of X998
    assert REGISTRY.get_sample_value("kpi_exported_series_left_out") == 999 * 3 + 1
