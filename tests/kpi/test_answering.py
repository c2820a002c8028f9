"""What people see of states and do about them, on a real PostgreSQL: acknowledge, escalate, silence, inhibit, test back."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.model import IndicatorBreached, IndicatorEscalated, IndicatorRecovered
from closedloop.common.http.app import Health, create_app
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.common.settings import AuthSettings
from closedloop.kpi import backtest_api, states_api
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.escalation import wait
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.domain.stating import DAY
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.escalations import Escalations
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.measurements import Measurements
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.reported_values import ReportedValues
from closedloop.kpi.states import States
from closedloop.kpi.values import Values
from closedloop.local.issuer import Issuer
from kpi.test_statements import FAILURES, NJ, NOON, SZ, ZONE, Buckets, reach, said, state, statements_on

assert FAILURES is not None
THRESHOLD = Threshold("1h", 20, 50, ("region",), warning=10)
LEVELLED = replace(FAILURES, threshold=THRESHOLD)
WHOLE = replace(FAILURES, id="all_orders_failed", threshold=Threshold("1h", 20, 50))
CHILD = replace(LEVELLED, parent=WHOLE.id)
CATALOGUE = Catalogue([LEVELLED])


class Desk:
    """Statements made and answered for, over one database."""

    def __init__(self, pool: Pool, app: FastAPI, issuer: Issuer) -> None:
        self.pool = pool
        self.buckets = Buckets()
        self._app = app
        self._issuer = issuer
        self.watch(CATALOGUE)

    def watch(self, catalogue: Catalogue) -> None:
        """Start anew with another catalogue."""
        self.catalogue = catalogue
        self.statements = statements_on(self.pool, catalogue, self.buckets)
        self.escalations = Escalations(self.pool, catalogue)
        self._app.state.catalogue = catalogue
        self._app.state.states = States(self.pool, catalogue)
        self._app.state.zone = ZONE
        reported = ReportedValues(Measurements(self.pool, ZONE), ZONE)
        values = Values(EventValues(BucketReader(self.pool, catalogue, 1 << 20, ZONE), catalogue, ZONE), reported, catalogue)
        self._app.state.backtests = Backtests(self.pool, self.buckets, values, ZONE)

    async def state_at(self, minute: int) -> None:
        await reach(self.pool, minute)
        await state(self.statements)

    async def ask(
        self,
        method: str,
        path: str,
        status: int = 200,
        *,
        role: str = "manager",
        regions: Sequence[str] = ("*",),
        units: Sequence[str] | None = None,
        **how: Any,
    ) -> Any:
        token = self._issuer.mint(role, "ann", tuple(regions), units=units)
        headers = {"Authorization": f"Bearer {token}"} | how.pop("headers", {})
        transport = httpx2.ASGITransport(app=self._app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://kpi") as client:
            answer = await client.request(method, path, headers=headers, **how)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def states(self, **params: Any) -> list[Any]:
        items: list[Any] = (await self.ask("GET", "/v1/states", params=params))["items"]
        return items

    async def acknowledge(self, state: Any, status: int = 200, **how: Any) -> Any:
        headers = {"If-Match": f'"{state["version"]}"'}
        how.setdefault("json", {"comment": "the card reader is being changed"})
        return await self.ask("POST", f"/v1/states/{state['id']}/acknowledge", status, headers=headers, **how)

    async def published(self) -> list[Any]:
        return [decode_structured(row["payload"]) for row in await self.pool.fetch("SELECT payload FROM outbox ORDER BY seq")]


@pytest.fixture
async def desk(kpi_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    issuer = Issuer(tmp_path / "issuer")
    environment = issuer.environment()
    auth = AuthSettings(issuer=environment["AUTH_ISSUER"], jwks_url=environment["AUTH_JWKS_URL"])

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    routers = [backtest_api.router, states_api.router]
    app = create_app("kpi", "test", authenticator=Authenticator(auth), health=Health(), routers=routers, lifespan=lifespan)
    pool = await create_pool(kpi_url, "kpi")
    yield Desk(pool, app, issuer)
    await pool.close()


# --- statements of levels ---


async def test_a_change_of_level_is_a_statement_of_its_own(desk: Desk) -> None:
    for minute, failed in ((0, 15), (20, 150), (70, 0)):
        desk.buckets.add("NJ", NOON + minute, failed, ended=100 if failed < 100 else 300)
    for minute in range(0, 200, 23):
        await desk.state_at(NOON + minute)
    assert await said(desk.pool) == [
        (1, NJ, "breached", "warning"),
        (21, NJ, "breached", "critical"),
        (81, NJ, "recovered", "back"),
    ]
    events = await desk.published()
    assert [type(e) for e in events[:2]] == [IndicatorBreached, IndicatorBreached]
    assert [(e.data.level, e.data.threshold) for e in events[:2]] == [("warning", 10.0), ("critical", 20.0)]
    assert [int(e.sequence) for e in events] == sorted({int(e.sequence) for e in events})
    first = events[0].data
    assert (first.owner, first.target, first.value, first.sample) == ("it_support", LEVELLED.target, 15.0, 100)
    assert first.series_url == "/v1/indicators/order_failure_rate/series?window=1h&to=2025-03-18T12%3A01%3A00Z&region=NJ"


async def test_a_breach_that_a_process_of_the_version_before_stated_is_ended(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 50, ended=100)
    await desk.state_at(NOON + 5)
    await desk.pool.execute("UPDATE statement_series SET rank = 0, state = 'ok'")
    await desk.state_at(NOON + 90)
    assert [kind for _, _, kind, _ in await said(desk.pool)] == ["breached", "recovered"]


# --- states ---


async def test_states_show_how_series_stand_and_why(desk: Desk) -> None:
    desk.watch(Catalogue([replace(LEVELLED, threshold=replace(THRESHOLD, for_minutes=10))]))
    for region, failed in (("NJ", 30), ("SZ", 12), ("WX", 1)):
        desk.buckets.add(region, NOON, failed, ended=100)
    desk.buckets.add("CZ", NOON, 1, ended=1)
    await desk.state_at(NOON + 5)
    found = {state["dimensions"]["region"]: state for state in await desk.states()}
    assert {region: state["state"] for region, state in found.items()} == {
        "NJ": "pending",
        "SZ": "pending",
        "WX": "ok",
        "CZ": "no_data",
    }
    assert found["NJ"]["pending_until"] == "2025-03-18T12:11:00Z"
    assert (found["NJ"]["value"], found["NJ"]["numerator"], found["NJ"]["sample"]) == (30.0, 30.0, 100)
    assert (found["NJ"]["owner"], found["CZ"]["value"], found["CZ"]["sample"]) == ("it_support", None, 1)
    await desk.state_at(NOON + 20)
    assert [s["series"] for s in await desk.states(state="critical")] == [NJ]
    assert [s["series"] for s in await desk.states(state=["critical", "warning"])] == [NJ, SZ]
    assert (await desk.states(region="NJ"))[0]["since"] == "2025-03-18T12:11:00Z"
    assert await desk.states(owner="nobody") == []
    assert len(await desk.states(owner="it_support", indicator="order_failure_rate")) == 4


async def test_states_are_paged_and_a_token_sees_its_own_regions(desk: Desk) -> None:
    for region in ("A", "B", "C"):
        desk.buckets.add(region, NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    first = await desk.ask("GET", "/v1/states", params={"limit": 2})
    second = await desk.ask("GET", "/v1/states", params={"limit": 2, "cursor": first["next"]})
    assert [s["dimensions"]["region"] for s in first["items"] + second["items"]] == ["A", "B", "C"]
    assert second["next"] is None
    mine = await desk.ask("GET", "/v1/states", regions=("B",))
    assert [s["dimensions"]["region"] for s in mine["items"]] == ["B"]
    await desk.ask("GET", "/v1/states", 403, regions=("B",), params={"region": "A"})
    foreign = f"/v1/states/{first['items'][0]['id']}"
    await desk.ask("GET", foreign)
    await desk.ask("GET", foreign, 404, regions=("B",))
    await desk.acknowledge(first["items"][0], 404, regions=("B",))
    lines = (await desk.ask("GET", "/v1/states/history", regions=("B",)))["items"]
    assert [line["series"] for line in lines] == ["order_failure_rate?region=B"]


# --- acknowledging ---


async def test_a_breach_is_acknowledged_once_and_the_history_says_by_whom(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    [state] = await desk.states()
    path = f"/v1/states/{state['id']}/acknowledge"
    await desk.ask("POST", path, 428, json={"comment": "x"})
    await desk.acknowledge({**state, "version": state["version"] + 7}, 412)
    await desk.acknowledge(state, 403, role="analyst")
    await desk.acknowledge(state, 422, json={"comment": " "})
    done = await desk.acknowledge(state)
    assert (done["acknowledged_by"], done["comment"]) == ("ann", "the card reader is being changed")
    await desk.acknowledge(state, 412)
    assert "ann" in (await desk.acknowledge(done, 409))["detail"]
    newest, breach = (await desk.ask("GET", "/v1/states/history", params={"id": state["id"]}))["items"]
    assert (newest["kind"], newest["by"], newest["comment"]) == ("acknowledged", "ann", "the card reader is being changed")
    assert (breach["kind"], breach["by"], breach["data"]["value"]) == ("breached", "kpi", 30.0)


async def test_an_acknowledgement_is_gone_when_it_gets_worse_and_stays_when_it_gets_better(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 15, ended=100)
    await desk.state_at(NOON + 5)
    await desk.acknowledge((await desk.states())[0])
    desk.buckets.add("NJ", NOON + 6, 60, ended=100)
    await desk.state_at(NOON + 10)
    [state] = await desk.states()
    assert (state["level"], state["acknowledged_by"]) == ("critical", None)
    await desk.acknowledge(state)
    desk.buckets.add("NJ", NOON + 11, 0, ended=300)
    await desk.state_at(NOON + 15)
    [state] = await desk.states()
    assert (state["level"], state["acknowledged_by"]) == ("warning", "ann")
    *_, back = await desk.published()
    assert isinstance(back, IndicatorRecovered)
    assert back.data.level == "warning"
    await desk.state_at(NOON + 90)
    [state] = await desk.states()
    assert (state["state"], state["acknowledged_by"]) == ("no_data", None)
    await desk.acknowledge(state, 409)


async def test_a_repeated_request_is_answered_as_the_first_was(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    [state] = await desk.states()
    headers = {"If-Match": f'"{state["version"]}"', "Idempotency-Key": "k-1"}
    path, body = f"/v1/states/{state['id']}/acknowledge", {"comment": "seen"}
    first = await desk.ask("POST", path, json=body, headers=headers)
    assert await desk.ask("POST", path, json=body, headers=headers) == first


async def test_a_unit_answers_for_its_own_and_silences_its_own(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    [state] = await desk.states()
    refused = await desk.acknowledge(state, 403, units=("hotline",))
    assert refused["detail"] == "order_failure_rate is it_support's; the token speaks for hotline."
    for units, of, status in (
        (("hotline",), "order_failure_rate", 403),
        (("it_support",), None, 403),
        (("it_support",), state["indicator_id"], 201),
    ):
        body = {"indicator_id": of, "dimensions": {"region": "NJ"}, "until": minute_at(NOON + 60).isoformat(), "comment": "work"}
        body |= {"from": minute_at(NOON).isoformat()}
        made = await desk.ask("POST", "/v1/silences", status, json=body, units=units)
    end: dict[str, Any] = {"json": {"comment": "done"}, "headers": {"If-Match": '"1"'}}
    await desk.ask("POST", f"/v1/silences/{made['id']}/end", 403, units=("hotline",), **end)
    assert (await desk.acknowledge(state, units=("it_support",)))["acknowledged_by"] == "ann"


# --- escalating ---


async def test_a_breach_is_said_again_until_somebody_acknowledges_it(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 30, ended=100)
    desk.buckets.add("SZ", NOON, 15, ended=100)
    await desk.state_at(NOON + 5)
    await desk.escalations.look()
    assert len(await desk.published()) == 2  # the breaches: nobody is late yet

    async def later(hours: int) -> list[Any]:
        await desk.pool.execute(
            "UPDATE statement_series SET breached_at = breached_at - $1::interval, escalated_at = escalated_at - $1::interval",
            timedelta(hours=hours),
        )
        before = len(await desk.published())
        await desk.escalations.look()
        await desk.escalations.look()
        return (await desk.published())[before:]

    breach = next(e for e in await desk.published() if e.subject == NJ)
    again = {event.subject: event for event in await later(1)}
    assert again.keys() == {NJ, SZ}
    assert isinstance(again[NJ], IndicatorEscalated)
    assert (again[NJ].id, again[NJ].sequence) == (f"{breach.id}.escalated.1", breach.sequence)
    assert (again[NJ].data.breach_id, again[NJ].data.escalation, again[NJ].data.minutes) == (breach.id, 1, 60)
    assert (again[NJ].data.value, again[NJ].data.owner, again[NJ].data.level) == (30.0, "it_support", "critical")
    await desk.acknowledge(next(s for s in await desk.states() if s["series"] == SZ))
    assert await later(1) == []  # it waits twice as long each time
    assert [e.data.escalation for e in await later(1)] == [2]
    assert [e.data.escalation for hours in (4, 8, 16) for e in await later(hours)] == [3, 4, 5]
    assert [e.data.escalation for day in range(3) for e in await later(24)] == [6, 7, 8]  # and a day at most
    kinds = [line["kind"] for line in (await desk.ask("GET", "/v1/states/history", params={"region": "NJ"}))["items"]]
    assert kinds == ["escalated"] * 8 + ["breached"]
    await desk.acknowledge(next(s for s in await desk.states() if s["series"] == NJ))
    assert await later(48) == []


@pytest.mark.parametrize(
    ("after", "waits"), [(60, [1, 2, 4, 8, 16, 24, 24]), (24 * 60, [24, 24, 24]), (48 * 60, [48, 48]), (6, [0.1, 0.2, 0.4])]
)
def test_an_escalation_waits_twice_as_long_each_time_and_a_day_at_most(after: int, waits: list[float]) -> None:
    assert [wait(step, after) / timedelta(hours=1) for step in range(len(waits))] == waits
    assert wait(32_767, after) == timedelta(hours=max(24, after // 60))


async def test_what_is_silenced_is_not_said_again(desk: Desk) -> None:
    desk.buckets.add("NJ", NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    await silence(desk, "NJ", NOON + 6, NOON + 30)
    await desk.state_at(NOON + 10)
    [state] = await desk.states()
    assert (state["state"], state["suppressed_by"]) == ("critical", "silenced")
    await desk.pool.execute("UPDATE statement_series SET breached_at = breached_at - interval '2 hours'")
    await desk.escalations.look()
    assert len(await desk.published()) == 1
    await desk.state_at(NOON + 31)
    await desk.escalations.look()
    assert len(await desk.published()) == 2


# --- silences ---


async def silence(desk: Desk, region: str, start: int, until: int, status: int = 201, **how: Any) -> Any:
    body = {
        "indicator_id": "order_failure_rate",
        "dimensions": {"region": region},
        "from": minute_at(start).isoformat(),
        "until": minute_at(until).isoformat(),
        "comment": "planned work on the billing system",
    }
    return await desk.ask("POST", "/v1/silences", status, json=body | how.pop("but", {}), **how)


async def test_under_a_silence_no_breach_begins_and_one_that_still_holds_begins_at_its_end(desk: Desk) -> None:
    made = await silence(desk, "NJ", NOON - 30, NOON + 20)
    assert (made["made_by"], made["ended_by"]) == ("ann", None)
    for region in ("NJ", "SZ"):
        desk.buckets.add(region, NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    found = {s["dimensions"]["region"]: (s["state"], s["suppressed_by"]) for s in await desk.states()}
    assert found == {"NJ": ("pending", "silenced"), "SZ": ("critical", None)}
    await desk.state_at(NOON + 25)
    assert await said(desk.pool) == [(1, SZ, "breached", "critical"), (20, NJ, "breached", "critical")]


async def test_a_silence_is_ended_by_a_person_and_the_history_says_so(desk: Desk) -> None:
    body = {"dimensions": {"region": "NJ"}, "until": (datetime.now(UTC) + timedelta(hours=2)).isoformat(), "comment": "tests"}
    made = await desk.ask("POST", "/v1/silences", 201, json=body)
    path, end = f"/v1/silences/{made['id']}/end", {"comment": "done earlier"}
    await desk.ask("POST", path, 428, json=end)
    headers = {"If-Match": f'"{made["version"]}"'}
    await desk.ask("POST", path, 404, json=end, headers=headers, regions=("SZ",))
    ended = await desk.ask("POST", path, json=end, headers=headers)
    assert ended["ended_by"] == "ann"
    assert ended["until"] < made["until"]
    await desk.ask("POST", path, 412, json=end, headers=headers)
    await desk.ask("POST", path, 409, json=end, headers={"If-Match": f'"{ended["version"]}"'})
    rows = await desk.pool.fetch("SELECT action, by_whom, comment FROM silence_history ORDER BY seq")
    assert [tuple(row) for row in rows] == [("made", "ann", "tests"), ("ended", "ann", "done earlier")]
    assert [s["id"] for s in (await desk.ask("GET", "/v1/silences", role="analyst"))["items"]] == [made["id"]]
    assert (await desk.ask("GET", "/v1/silences", regions=("SZ",)))["items"] == []


@pytest.mark.parametrize(
    ("but", "status", "named"),
    [
        ({"indicator_id": "order_failure_rat"}, 422, "order_failure_rate"),
        ({"dimensions": {"colour": "red"}}, 422, "colour"),
        ({"until": "2025-03-17T00:00:00Z"}, 422, "until"),
        ({"until": "2029-03-17T00:00:00Z"}, 422, "400 days"),
        ({"until": "tomorrow"}, 422, "until"),
        ({"indicator_id": None, "dimensions": {}}, 422, "everything"),
        ({"comment": ""}, 422, "comment"),
    ],
)
async def test_a_mistake_in_a_silence_is_named(desk: Desk, but: dict[str, Any], status: int, named: str) -> None:
    assert named in (await silence(desk, "NJ", NOON, NOON + 60, status, but=but))["detail"]


async def test_a_silence_stays_inside_of_the_tokens_regions(desk: Desk) -> None:
    await silence(desk, "NJ", NOON, NOON + 60, 403, regions=("SZ",))
    await silence(desk, "NJ", NOON, NOON + 60, 403, regions=("SZ",), but={"dimensions": {}})
    await silence(desk, "NJ", NOON, NOON + 60, 403, role="analyst")


# --- parents ---


async def test_while_the_parent_stands_breached_its_children_do_not_begin(desk: Desk) -> None:
    desk.watch(Catalogue([CHILD, WHOLE]))
    desk.buckets.add("NJ", NOON, 60, ended=100)
    desk.buckets.add("SZ", NOON, 10, ended=100)
    await desk.state_at(NOON + 5)
    assert await said(desk.pool) == [(1, "all_orders_failed", "breached", "critical")]
    [state] = await desk.states(region="NJ")
    assert (state["state"], state["suppressed_by"]) == ("pending", "inhibited")
    # orders elsewhere go well, and the whole is back while Nanjing is not
    desk.buckets.add("SZ", NOON + 6, 0, ended=900)
    await desk.state_at(NOON + 20)
    assert (await said(desk.pool))[1:] == [(7, "all_orders_failed", "recovered", "back"), (7, NJ, "breached", "critical")]


async def test_where_the_parent_never_stood_its_child_is_judged_as_ever(desk: Desk) -> None:
    parent = replace(LEVELLED, id="all_orders_failed", threshold=Threshold("1h", 50, 50, ("region",)))
    desk.watch(Catalogue([replace(LEVELLED, parent=parent.id), parent]))
    desk.buckets.add("NJ", NOON, 60, ended=100)
    desk.buckets.add("SZ", NOON, 30, ended=100)
    await desk.state_at(NOON + 5)
    desk.buckets.add("WX", NOON + 6, 30, ended=100)
    await desk.state_at(NOON + 10)
    assert await said(desk.pool) == [
        (1, "all_orders_failed?region=NJ", "breached", "critical"),
        (1, SZ, "breached", "critical"),
        (7, "order_failure_rate?region=WX", "breached", "critical"),
    ]


async def test_a_child_is_held_back_alike_when_all_is_stated_at_once(desk: Desk) -> None:
    desk.watch(Catalogue([CHILD, WHOLE]))
    desk.buckets.add("NJ", NOON, 60, ended=100)
    desk.buckets.add("SZ", NOON + 6, 0, ended=900)
    await desk.state_at(NOON + 20)
    assert {(at, series, kind) for at, series, kind, _ in await said(desk.pool)} == {
        (1, "all_orders_failed", "breached"),
        (7, "all_orders_failed", "recovered"),
        (7, NJ, "breached"),
    }


# --- control charts ---

CHARTED = replace(FAILURES, threshold=None, control=Control("p", "day", 8, ("beyond_limit",), ("region",), level="critical"))
MIDNIGHT = NOON - 12 * 60 - 8 * 60  # in Shanghai


class Counted(Buckets):
    """Buckets that know how often they were read."""

    reads = 0

    async def totals(self, indicator: EventIndicator, group_by: Sequence[str], from_minute: int, to_minute: int) -> pl.DataFrame:
        self.reads += 1
        return await super().totals(indicator, group_by, from_minute, to_minute)


async def test_a_chart_signals_when_its_day_is_over_and_reads_only_then(desk: Desk) -> None:
    desk.buckets = counted = Counted()
    desk.watch(Catalogue([CHARTED]))
    for day, failed in enumerate([9, 11, 10, 12, 9, 10, 11, 10, 30, 10]):
        desk.buckets.add("NJ", MIDNIGHT + day * DAY + 720, failed, ended=100)
    reads = []
    for hour in range(0, 11 * 24, 5):
        await desk.state_at(MIDNIGHT + hour * 60 + 17)
        reads.append(counted.reads)
    name = "order_failure_rate.control?region=NJ"
    begin = MIDNIGHT + 9 * DAY - NOON
    assert await said(desk.pool) == [(begin, name, "breached", "control"), (begin + DAY, name, "recovered", "back")]
    assert counted.reads < len(reads) / 2
    breach, _ = await desk.published()
    assert (breach.subject, breach.data.rule, breach.data.value) == (NJ, "beyond_limit", 30.0)
    assert (breach.data.window_start, breach.data.window_end) == (
        minute_at(MIDNIGHT + 8 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
        minute_at(MIDNIGHT + 9 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


async def test_a_chart_over_a_history_at_once_states_the_same_and_a_silence_holds_it_back(desk: Desk) -> None:
    desk.watch(Catalogue([CHARTED]))
    for day, failed in enumerate([9, 11, 10, 12, 9, 10, 11, 10, 30, 10]):
        desk.buckets.add("NJ", MIDNIGHT + day * DAY + 720, failed, ended=100)
    await silence(desk, "NJ", MIDNIGHT, MIDNIGHT + 9 * DAY + 180)
    await desk.state_at(MIDNIGHT + 9 * DAY + 60)
    assert await said(desk.pool) == []
    [state] = await desk.states()
    assert (state["judged_by"], state["state"], state["suppressed_by"]) == ("control", "pending", "silenced")
    await desk.state_at(MIDNIGHT + 11 * DAY)
    begin = MIDNIGHT + 9 * DAY - NOON
    assert [(at, kind, reason) for at, _, kind, reason in await said(desk.pool)] == [
        (begin + 180, "breached", "control"),
        (begin + DAY, "recovered", "back"),
    ]
    desk.watch(Catalogue([]))
    await desk.state_at(MIDNIGHT + 11 * DAY + 5)
    assert len(await said(desk.pool)) == 2


# --- backtests ---


async def test_a_backtest_shows_what_would_have_been_raised_beside_what_was(desk: Desk) -> None:
    for day, failed in enumerate((15, 5, 30)):
        desk.buckets.add("NJ", NOON + day * DAY, failed, ended=100)
        desk.buckets.add("SZ", NOON + day * DAY, failed, ended=100)
    desk.watch(Catalogue([replace(LEVELLED, threshold=Threshold("1h", 25, 50, ("region",)))]))
    await desk.state_at(NOON + 3 * DAY)
    body = {
        "threshold": {"window": "1h", "critical": 10, "minimum_sample": 50, "by": ["region"]},
        "from": minute_at(NOON - DAY).isoformat(),
        "to": minute_at(NOON + 4 * DAY).isoformat(),
    }
    path = "/v1/indicators/order_failure_rate/backtest"
    found = await desk.ask("POST", path, json=body, role="analyst", regions=("NJ",))
    assert (found["raised"]["count"], found["stated"]["count"]) == (2, 1)
    first, second = found["raised"]["items"]
    assert (first["series"], first["begin"], first["end"]) == (NJ, "2025-03-18T12:01:00Z", "2025-03-18T13:01:00Z")
    assert (first["level"], first["value"], first["ended"]) == ("critical", 15.0, "no data")
    [stated] = found["stated"]["items"]
    assert (stated["begin"], stated["threshold"], second["threshold"]) == (second["begin"], 25.0, 10.0)
    assert (await desk.ask("POST", path, json=body))["raised"]["count"] == 4
    assert len(await said(desk.pool)) == 4  # as before


@pytest.mark.parametrize(
    ("but", "status", "named"),
    [
        ({"threshold": None}, 422, "threshold"),
        ({"threshold": {"window": "1h", "critical": "a"}}, 422, "critical"),
        ({"control": {"chart": "x", "period": "day"}}, 422, "chart"),
        ({"to": "2027-03-17T00:00:00Z"}, 422, "400 days"),
        ({"to": "tomorrow"}, 422, "to"),
        ({"threshold": {"window": "1h", "critical": 1, "minimum_sample": 5}}, 403, "region"),
    ],
)
async def test_a_mistake_in_a_backtest_is_named(desk: Desk, but: dict[str, Any], status: int, named: str) -> None:
    body = {
        "threshold": {"window": "1h", "critical": 10, "minimum_sample": 50, "by": ["region"]},
        "from": "2025-03-17T00:00:00Z",
        "to": "2025-03-20T00:00:00Z",
    }
    path = "/v1/indicators/order_failure_rate/backtest"
    assert named in (await desk.ask("POST", path, status, json=body | but, regions=("NJ",)))["detail"]
