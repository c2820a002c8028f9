"""Indicators that are judged by their levels of a period, on a real PostgreSQL: reported, composed, counted without a threshold."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema_rs
import pytest

from closedloop.common.events.contract import schema_of
from closedloop.common.events.decoder import check, check_topic, decode_structured
from closedloop.common.events.model import IndicatorBreached, IndicatorEscalated, IndicatorRecovered
from closedloop.common.postgres.pool import create_pool
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.domain.thresholds import Threshold
from closedloop.kpi.domain.windows import Window, minute_of
from closedloop.kpi.escalations import Escalations
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.period_statements import AGAIN_AFTER_MINUTES, PeriodStatements
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.states import States
from closedloop.kpi.value import Filters, Value
from closedloop.kpi.values import Values
from closedloop.ticketing.domain import told
from kpi.counting import Engine
from kpi.desk import Desk, desk_over
from kpi.shipped import SHIPPED
from kpi.test_statements import statements_on

ZONE = ZoneInfo("Asia/Shanghai")
APRIL = minute_of(datetime(2026, 4, 1, tzinfo=ZONE))
MAY = minute_of(datetime(2026, 5, 1, tzinfo=ZONE))
JUNE = minute_of(datetime(2026, 6, 1, tzinfo=ZONE))
COMMON: dict[str, Any] = {
    "name_zh": "指标",
    "process": "hotline",
    "phase": "ex_post",
    "class": "operating",
    "owner": "hotline",
    "dimensions": ["region"],
}
REPORTED = COMMON | {"collection": "system_extract", "granularity": "month"}


def made(**entry: Any) -> Indicator:
    indicator, problems = read_entry({"name_en": entry["id"]} | entry, "test:1")
    assert indicator is not None, problems
    return indicator


DELIVERY = made(
    **REPORTED,
    id="sms_delivery",
    unit="percent",
    better="higher",
    target=98,
    warning=95,
    critical=90,
    reported={"by": "BOSS", "numerator": "delivered", "denominator": "sent"},
)
SCORE = made(
    **REPORTED | {"granularity": "quarter"}, id="score", unit="points", better="higher", warning=80, reported={"by": "institute"}
)
CUSTOMERS = made(
    **REPORTED, id="customers", unit="customers", better="higher", reported={"by": "BOSS", "numerator": "customers", "level": True}
)
COMPLAINTS = made(
    **REPORTED, id="complaints", unit="complaints", better="lower", reported={"by": "desk", "numerator": "complaints"}
)
PER_10K = made(
    **COMMON,
    id="complaints_per_10k",
    granularity="month",
    unit="complaints",
    better="lower",
    warning=80,
    critical=100,
    composite="10000 * complaints / customers",
)
LOW_SCORES = made(
    **COMMON,
    id="low_scores",
    unit="percent",
    better="lower",
    warning=40,
    topic="evaluations",
    filter="kind = 'survey'",
    numerator="score <= 2",
    denominator=1,
)
CATALOGUE = Catalogue([DELIVERY, SCORE, CUSTOMERS, COMPLAINTS, PER_10K, LOW_SCORES])


class CountingValues(Values):
    """The values, and how many series of them were asked for."""

    asked = 0

    async def series(
        self,
        indicator: Indicator,
        window: Window,
        ends: Sequence[int],
        group_by: Sequence[str],
        filters: Filters,
        as_of: datetime | None = None,
    ) -> list[Value]:
        self.asked += 1
        return await super().series(indicator, window, ends, group_by, filters, as_of)


class Operator:
    """Whoever reports figures, as time goes by, and sees what is said of them. All events before now have arrived unless said."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self.engine = engine
        self.desk = desk
        self.minute = APRIL + 600
        self.arrived: int | None = None
        self.watch(CATALOGUE)

    def watch(self, catalogue: Catalogue) -> None:
        """Start anew with another catalogue."""
        self.values = CountingValues(
            EventValues(self.engine.reader, catalogue, ZONE), ReportedValues(Measurements(self.engine.pool, ZONE), ZONE), catalogue
        )
        self.catalogue = catalogue
        self.statements = self.process()
        self.escalations = Escalations(self.engine.pool, catalogue)
        self.desk.app.state.catalogue = catalogue
        self.desk.app.state.states = States(self.engine.pool, catalogue)
        self.desk.app.state.values = self.values
        self.desk.app.state.backtests = Backtests(self.engine.pool, self.engine.reader, self.values, ZONE)

    def process(self) -> PeriodStatements:
        """One of the service's processes."""

        async def now(_: Any) -> datetime:
            return minute_at(self.minute)

        async def frontier(_: str) -> datetime | None:
            return minute_at(self.minute if self.arrived is None else self.arrived)

        return PeriodStatements(self.engine.pool, frontier, self.catalogue, self.values, ZONE, now=now)

    async def report(
        self,
        indicator: Indicator,
        period: str,
        *figures: float,
        why: str | None = None,
        region: str | None = None,
        status: int = 201,
    ) -> None:
        """Report a period's figures; then a minute passes, and the service looks."""
        names = ("numerator", "denominator") if indicator is DELIVERY else ("value",) if indicator is SCORE else ("numerator",)
        row: dict[str, Any] = {"period": period} | dict(zip(names, figures, strict=True))
        row |= {name: text for name, text in (("reason", why), ("region", region)) if text is not None}
        await self.desk.report(indicator.id, row, status)
        await self.look()

    async def look(self, minutes: int = 1) -> None:
        self.minute += minutes
        await self.statements.look()

    async def said(self) -> list[tuple[str, str, str]]:
        """(series, kind, reason) of all that was stated, in order."""
        rows = await self.engine.pool.fetch("SELECT * FROM statement_history ORDER BY id")
        return [(row["series"], row["kind"], row["reason"]) for row in rows]

    async def published(self) -> list[Any]:
        return [
            decode_structured(row["payload"]) for row in await self.engine.pool.fetch("SELECT payload FROM outbox ORDER BY seq")
        ]

    async def states(self, **params: Any) -> dict[str, Any]:
        return {state["series"]: state for state in (await self.desk.get("/v1/states", **params))["items"]}


@pytest.fixture
async def operator(kpi_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    pool = await create_pool(kpi_url, "kpi")
    engine = Engine(pool, CATALOGUE)
    async with desk_over(engine, tmp_path) as desk:
        yield Operator(engine, desk)
    await pool.close()


# --- reported ---


async def test_a_month_below_critical_is_published_once_with_owner_evidence_and_a_link(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100)
    await operator.report(DELIVERY, "2026-03", 85, 100, status=200)  # imported again
    await operator.look(AGAIN_AFTER_MINUTES)
    assert await operator.said() == [("sms_delivery", "breached", "critical")]
    [row] = await operator.engine.pool.fetch("SELECT * FROM outbox")
    assert (row["topic"], row["key"]) == ("indicators", "sms_delivery")
    jsonschema_rs.Draft202012Validator(schema_of(IndicatorBreached)).validate(json.loads(row["payload"]))
    event = decode_structured(row["payload"])
    assert isinstance(event, IndicatorBreached)
    check_topic(event, "indicators")
    assert check(event, minute_at(operator.minute)) == minute_at(APRIL + 601), "when it was judged"
    data = event.data
    assert (data.owner, data.target, data.better, data.level, data.threshold) == ("hotline", 98.0, "higher", "critical", 90.0)
    assert (data.value, data.numerator, data.denominator, data.sample) == (85.0, 85.0, 100.0, 1)
    assert (data.window, data.window_start, data.window_end) == ("month", "2026-02-28T16:00:00Z", "2026-03-31T16:00:00Z")
    assert (data.dimensions, data.region) == ({}, None)
    assert data.series_url is not None
    shown = (await operator.desk.get(data.series_url))["points"][-1]
    assert (shown["value"], shown["numerator"], shown["denominator"]) == (85.0, 85.0, 100.0)


async def test_ticketing_takes_it_as_the_firing_of_a_ticket(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 60, 100)
    await operator.report(DELIVERY, "2026-03", 85, 100, region="NJ")
    whole, region = [told.breach(event) for event in await operator.published()]
    assert (whole.cause.name, whole.evidence.regions, whole.unit) == ("indicator:sms_delivery", {}, "hotline")
    assert (whole.observed, whole.expected, whole.urgency, whole.at) == (60.0, 90.0, 2, minute_at(APRIL))
    assert (region.cause.name, region.evidence.regions) == ("indicator:sms_delivery{region=NJ}", {"NJ": 1})


async def test_the_whole_and_each_region_are_series_and_a_token_sees_its_own(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100, region="NJ")
    await operator.report(DELIVERY, "2026-03", 990, 1000, region="SZ")
    assert {name: state["state"] for name, state in (await operator.states()).items()} == {
        "sms_delivery": "ok",
        "sms_delivery?region=NJ": "critical",
        "sms_delivery?region=SZ": "ok",
    }
    # Nanjing alone was the whole at first
    assert await operator.said() == [
        ("sms_delivery", "breached", "critical"),
        ("sms_delivery?region=NJ", "breached", "critical"),
        ("sms_delivery", "recovered", "back"),
    ]
    mine = await operator.states(regions=("NJ",))
    assert list(mine) == ["sms_delivery?region=NJ"]
    state = mine["sms_delivery?region=NJ"]
    assert (state["owner"], state["unit"], state["value"], state["sample"]) == ("hotline", "percent", 85.0, 1)
    shown = await operator.desk.get(state["series_url"], regions=("NJ",))
    assert shown["points"][-1]["value"] == 85.0


async def test_a_correction_that_lifts_it_says_so_later_and_one_of_an_older_month_says_nothing(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-02", 99, 100)
    await operator.report(DELIVERY, "2026-03", 85, 100)
    await operator.report(DELIVERY, "2026-02", 10, 100, why="gateway 2 was left out")
    assert len(await operator.said()) == 1
    await operator.report(DELIVERY, "2026-03", 97, 100, why="gateway 2 was left out")
    assert await operator.said() == [("sms_delivery", "breached", "critical"), ("sms_delivery", "recovered", "back")]
    breached, recovered = await operator.published()
    assert isinstance(recovered, IndicatorRecovered)
    assert (recovered.data.value, recovered.data.threshold, recovered.data.window_end) == (97.0, 90.0, breached.data.window_end)
    assert recovered.time > breached.time
    assert int(recovered.sequence or 0) > int(breached.sequence or 0)


async def test_a_breach_stands_until_the_next_month_is_reported_or_is_over_without_a_figure(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100)
    operator.minute = MAY
    await operator.look()
    assert (await operator.states())["sms_delivery"]["state"] == "critical"
    operator.minute = JUNE - 2
    await operator.look()
    assert len(await operator.said()) == 1
    await operator.look()
    assert (await operator.said())[1:] == [("sms_delivery", "recovered", "no data")]
    state = (await operator.states())["sms_delivery"]
    assert (state["state"], state["value"]) == ("no_data", None)
    await operator.report(DELIVERY, "2026-05", 92, 100)
    assert (await operator.said())[2:] == [("sms_delivery", "breached", "warning")]


async def test_a_breach_that_goes_on_in_the_next_month_is_the_same_one(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100)
    operator.minute = MAY + 600
    await operator.report(DELIVERY, "2026-04", 84, 100)
    assert len(await operator.said()) == 1
    assert (await operator.states())["sms_delivery"]["value"] == 84.0


async def test_a_quarter_is_judged_where_quarters_are_reported(operator: Operator) -> None:
    await operator.report(SCORE, "2026-Q1", 71)
    [event] = await operator.published()
    assert (event.data.window, event.data.window_start, event.data.window_end) == (
        "quarter",
        "2025-12-31T16:00:00Z",
        "2026-03-31T16:00:00Z",
    )
    assert (event.data.value, event.data.level) == (71.0, "warning")
    assert (await operator.desk.get(event.data.series_url))["points"][-1]["value"] == 71.0


# --- composed ---


async def test_a_composite_is_judged_from_its_reported_parts(operator: Operator) -> None:
    await operator.report(COMPLAINTS, "2026-03", 120)
    assert await operator.said() == []
    await operator.report(CUSTOMERS, "2026-03", 10_000)
    assert await operator.said() == [("complaints_per_10k", "breached", "critical")]
    [event] = await operator.published()
    assert (event.data.value, event.data.threshold, event.data.sample) == (120.0, 100.0, 2)
    assert (await operator.desk.get(event.data.series_url))["points"][-1]["value"] == 120.0
    await operator.report(CUSTOMERS, "2026-03", 13_000, why="corporate customers were left out")
    assert (await operator.said())[1:] == [("complaints_per_10k", "recovered", "back")]
    [state] = (await operator.states(state="warning")).values()
    assert (state["series"], state["level"]) == ("complaints_per_10k", "warning")


# --- computed from events, without a threshold ---


async def rate(operator: Operator, minute: int, low: int, high: int, region: str = "NJ") -> None:
    scores = [1] * low + [9] * high
    await operator.desk.rate(*((minute_at(minute), {"score": score, "region": region}) for score in scores))


async def test_a_month_of_events_is_judged_once_they_have_arrived_and_again_when_late_ones_come(operator: Operator) -> None:
    await rate(operator, APRIL - 3000, low=13, high=22)
    operator.minute, operator.arrived = APRIL, APRIL - 1
    await operator.look()
    assert await operator.states() == {}, "events of March may still be on their way"
    operator.arrived = APRIL
    await operator.look()
    assert {name: state["state"] for name, state in (await operator.states()).items()} == {
        "low_scores": "ok",
        "low_scores?region=NJ": "ok",
    }
    await rate(operator, APRIL - 10, low=10, high=0, region="SZ")
    await operator.look(AGAIN_AFTER_MINUTES)
    # ten of Suzhou alone are no month
    assert await operator.said() == [("low_scores", "breached", "warning")]
    [event] = await operator.published()
    assert (event.data.numerator, event.data.denominator, event.data.sample) == (23.0, 45.0, 45)
    shown = (await operator.desk.get(event.data.series_url))["points"][-1]
    assert (shown["value"], shown["numerator"]) == (event.data.value, 23.0)


async def test_who_gets_a_threshold_is_judged_by_that_and_what_stood_has_ended_before(operator: Operator) -> None:
    await rate(operator, APRIL - 3000, low=30, high=10)
    await rate(operator, APRIL + 600, low=30, high=0)
    await operator.look()
    series = ["low_scores", "low_scores?region=NJ"]
    assert await operator.said() == [(name, "breached", "warning") for name in series]
    assert isinstance(LOW_SCORES, EventIndicator)
    judged = Catalogue([replace(LOW_SCORES, threshold=Threshold("1h", 50, 30, ("region",)))])
    pool = operator.engine.pool
    await pool.execute(
        """INSERT INTO consumer_offset (topic, partition, next_offset, cluster_id, topic_id, watermark)
           VALUES ('evaluations', 0, 1, 'c', 't', $1)
           ON CONFLICT (topic, partition) DO UPDATE SET watermark = EXCLUDED.watermark""",
        minute_at(operator.minute + 1),
    )
    live = statements_on(pool, judged, operator.engine.reader)
    while await live.state_all():
        pass
    assert len(await operator.said()) == 2, "the month's series are not withdrawn yet"
    operator.watch(judged)
    await operator.look()
    assert (await operator.said())[2:] == [(name, "recovered", "threshold withdrawn") for name in series]
    await pool.execute("UPDATE consumer_offset SET watermark = $1", minute_at(operator.minute + 2))
    while await live.state_all():
        pass
    assert (await operator.said())[4:] == [("low_scores?region=NJ", "breached", "critical")]
    await operator.look()
    assert list(await operator.states()) == ["low_scores?region=NJ"]


# --- what people do ---


async def test_a_silence_holds_the_beginning_back_until_it_ends(operator: Operator) -> None:
    body = {
        "indicator_id": "sms_delivery",
        "from": minute_at(operator.minute).isoformat(),
        "until": minute_at(operator.minute + 120).isoformat(),
        "comment": "the extract is known to be wrong",
    }
    await operator.desk.post("/v1/silences", body | {"dimensions": {"channel": "web"}}, 422)
    await operator.desk.post("/v1/silences", body, 201)
    until = operator.minute + 120
    await operator.report(DELIVERY, "2026-03", 85, 100, region="NJ")
    assert await operator.said() == []
    found = {name: (state["state"], state["suppressed_by"]) for name, state in (await operator.states()).items()}
    assert found == dict.fromkeys(("sms_delivery", "sms_delivery?region=NJ"), ("pending", "silenced"))
    operator.minute = until - 1
    await operator.look()
    assert [event.time for event in await operator.published()] == [
        minute_at(until).isoformat(timespec="milliseconds")[:-6] + "Z"
    ] * 2


async def test_who_acknowledges_is_not_reminded_and_who_does_not_is_after_a_day(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100, region="NJ")

    async def later(hours: int) -> list[Any]:
        await operator.engine.pool.execute(
            "UPDATE statement_series SET breached_at = breached_at - $1::interval, escalated_at = escalated_at - $1::interval",
            timedelta(hours=hours),
        )
        before = len(await operator.published())
        await operator.escalations.look()
        return (await operator.published())[before:]

    assert await later(23) == []
    state = (await operator.states())["sms_delivery"]
    answered = await operator.desk.post(f"/v1/states/{state['id']}/acknowledge", {"comment": "gateway"}, version=state["version"])
    assert answered["acknowledged_by"] == "ann"
    [again] = await later(1)
    assert isinstance(again, IndicatorEscalated)
    assert (again.subject, again.data.escalation, again.data.owner) == ("sms_delivery?region=NJ", 1, "hotline")


async def test_the_history_says_what_was_said_of_it_by_whom_and_why(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 92, 100)
    [line] = (await operator.desk.get("/v1/states/history", indicator="sms_delivery"))["items"]
    assert (line["kind"], line["reason"], line["by"], line["data"]["value"]) == ("breached", "warning", "kpi", 92.0)
    assert list(await operator.states(owner="hotline", state="warning")) == ["sms_delivery"]


# --- once ---


async def test_several_processes_say_it_once(operator: Operator) -> None:
    several = [operator.process() for _ in range(3)]
    for period, delivered in (("2026-02", 99), ("2026-03", 85)):
        await operator.desk.report("sms_delivery", {"period": period, "numerator": delivered, "denominator": 100})
    for _ in range(3):
        operator.minute += 1
        await asyncio.gather(*(process.look() for process in several))
    assert await operator.said() == [("sms_delivery", "breached", "critical")]
    assert await operator.engine.pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_a_figure_that_comes_in_a_minute_that_was_stated_is_judged_in_the_next(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 99, 100)
    await operator.desk.report(
        "sms_delivery", {"period": "2026-03", "numerator": 85, "denominator": 100, "reason": "gateway 2 was left out"}
    )
    await operator.process().look()
    await operator.look(0)
    assert await operator.said() == []
    await operator.look()
    assert await operator.said() == [("sms_delivery", "breached", "critical")]


async def test_where_nothing_has_changed_nothing_is_read_until_late_events_may_have_come(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100)
    asked = operator.values.asked
    for _ in range(AGAIN_AFTER_MINUTES - 1):
        await operator.look()
    assert operator.values.asked == asked
    await operator.look()
    assert operator.values.asked == 2 * asked
    operator.minute = MAY - 1
    await operator.look()
    assert operator.values.asked == 3 * asked, "a month has ended"


async def test_an_indicator_that_loses_its_levels_withdraws_what_stood(operator: Operator) -> None:
    await operator.report(DELIVERY, "2026-03", 85, 100)
    operator.watch(Catalogue([replace(DELIVERY, warning=None, critical=None)]))
    await operator.look()
    assert (await operator.said())[1:] == [("sms_delivery", "recovered", "threshold withdrawn")]
    assert await operator.states() == {}
    operator.watch(CATALOGUE)
    await operator.look()
    assert (await operator.said())[2:] == [("sms_delivery", "breached", "critical")]
    ids = [event.id for event in await operator.published()]
    assert len(set(ids)) == 3


def test_every_shipped_indicator_with_levels_is_judged_by_something() -> None:
    catalogue = SHIPPED
    levelled = [i for i in catalogue.indicators if i.warning is not None or i.critical is not None]
    live = [i for i in catalogue.from_events if i.threshold is not None or i.control is not None]
    assert set(levelled) <= {*catalogue.by_period, *live}
    assert not set(live) & set(catalogue.by_period)
    assert len(catalogue.by_period) > 100


# --- backtests ---

YEAR = {"from": "2025-12-01T00:00:00+08:00", "to": "2026-06-10T00:00:00+08:00"}


async def backtest(operator: Operator, indicator: Indicator, **order: Any) -> Any:
    return await operator.desk.post(f"/v1/indicators/{indicator.id}/backtest", YEAR | order)


async def test_stricter_levels_say_which_months_they_would_have_raised_beside_what_was_stated(operator: Operator) -> None:
    for month, share in (("2026-01", 97), ("2026-02", 93), ("2026-03", 92)):
        await operator.report(DELIVERY, month, share, 100)
    operator.minute = MAY + 600
    await operator.report(DELIVERY, "2026-04", 99, 100)
    found = await backtest(operator, DELIVERY, levels={"warning": 98, "critical": 92.5})
    assert [(b["begin"], b["end"], b["level"], b["value"], b["ended"]) for b in found["raised"]["items"]] == [
        ("2026-01-31T16:00:00Z", "2026-03-31T16:00:00Z", "warning", 97.0, "critical"),
        ("2026-03-31T16:00:00Z", "2026-04-30T16:00:00Z", "critical", 92.0, "back"),
    ]
    [stated] = found["stated"]["items"]
    assert (stated["level"], stated["value"], stated["threshold"]) == ("warning", 93.0, 95.0)
    assert (await backtest(operator, DELIVERY, levels={"critical": 50}))["raised"]["count"] == 0
    assert len(await operator.said()) == 2  # nothing was written


async def test_regions_are_tried_apart_and_a_token_sees_its_own(operator: Operator) -> None:
    for region, share in (("NJ", 80), ("SZ", 70)):
        await operator.report(DELIVERY, "2026-03", share, 100, region=region)
    path = f"/v1/indicators/{DELIVERY.id}/backtest"
    everything = await operator.desk.post(path, YEAR | {"levels": {"critical": 90}})
    assert [b["dimensions"] for b in everything["raised"]["items"]] == [{}, {"region": "NJ"}, {"region": "SZ"}]
    own = await operator.desk.post(path, YEAR | {"levels": {"critical": 90}}, regions=("SZ",))
    assert [b["dimensions"] for b in own["raised"]["items"]] == [{"region": "SZ"}]


async def test_quarters_and_composites_are_tried_by_their_own_periods(operator: Operator) -> None:
    await operator.report(SCORE, "2026-Q1", 70)
    await operator.report(CUSTOMERS, "2026-02", 10_000)
    await operator.report(COMPLAINTS, "2026-03", 90)
    [score] = (await backtest(operator, SCORE, levels={"warning": 75}))["raised"]["items"]
    assert (score["begin"], score["end"], score["value"]) == ("2026-03-31T16:00:00Z", None, 70.0)
    [composed] = (await backtest(operator, PER_10K, levels={"warning": 85, "critical": 120}))["raised"]["items"]
    assert (composed["begin"], composed["level"], composed["value"]) == ("2026-03-31T16:00:00Z", "warning", 90.0)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"levels": {}}, "levels: name `warning`, `critical`, or both"),
        ({"levels": {"warning": 90, "critical": 95}}, "levels: critical: 95 is better than the warning 90"),
        ({"threshold": {"window": "1h", "critical": 1, "minimum_sample": 1}}, "only `levels` of its periods can be tried"),
        ({"levels": {"critical": 90}, "from": "2010-01-01T00:00:00Z"}, "at most 120 months after `from`"),
        ({}, "threshold: is missing"),
    ],
)
async def test_a_mistake_in_levels_is_named(operator: Operator, order: dict[str, Any], said: str) -> None:
    refused = await operator.desk.post(f"/v1/indicators/{DELIVERY.id}/backtest", YEAR | order, 422)
    assert said in refused["detail"]
