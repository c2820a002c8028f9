"""The REST contract of tickets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.http.pages import encode_cursor
from closedloop.common.settings import AuthSettings
from closedloop.local.issuer import Issuer
from closedloop.ticketing.api import router
from ticketing.desk import Desk, breached, complaint, escalated

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ANALYSIS = {
    "problem_type": "business_process",
    "root_cause": "no emergency procedure with the bank",
    "methods": ["walk_through", "survey"],
    "text": "Walked through a failing top-up with the bank.",
    "difficulty": "medium",
}
PLAN = {"measures": [{"what": "agree on a procedure", "unit": "payments", "due": "2026-07-01"}]}
DONE = PLAN | {"carried_out": "The procedure is agreed on and in the system."}
EFFECTIVE = {"verdict": "effective", "text": "Nearly no such complaints any more."}

Client = Callable[..., httpx2.AsyncClient]


@pytest.fixture
async def client(desk: Desk, tmp_path: Path) -> AsyncIterator[Client]:
    """client(role, regions): with a token of the local issuer."""
    issuer = Issuer(tmp_path)
    environment = issuer.environment()
    auth = AuthSettings(issuer=environment["AUTH_ISSUER"], jwks_url=environment["AUTH_JWKS_URL"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app("ticketing", "", authenticator=Authenticator(auth), health=Health(), routers=[router], lifespan=lifespan)
    app.state.tickets = desk.tickets
    made: list[httpx2.AsyncClient] = []

    def make(role: str | None = "manager", regions: tuple[str, ...] = ("*",), subject: str | None = None) -> httpx2.AsyncClient:
        headers = {} if role is None else {"Authorization": f"Bearer {issuer.mint(role, subject, regions)}"}
        made.append(httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://ticketing", headers=headers))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


def new(**changes: object) -> dict[str, Any]:
    body = {"cause": "topic:top_up", "title": "Top-ups are not credited", "evidence": "40 calls since Monday", "regions": ["NJ"]}
    return body | changes


async def opened(manager: httpx2.AsyncClient, **changes: object) -> dict[str, Any]:
    answer = await manager.post("/v1/tickets", json=new(**changes))
    assert answer.status_code == 201, answer.text
    ticket: dict[str, Any] = answer.json()
    return ticket


async def step(
    manager: httpx2.AsyncClient, ticket: dict[str, Any], name: str, body: dict[str, Any], **headers: str
) -> httpx2.Response:
    return await manager.post(
        f"/v1/tickets/{ticket['id']}/{name}", json=body, headers={"If-Match": f'"{ticket["version"]}"'} | headers
    )


async def test_a_ticket_goes_through_its_four_stages(desk: Desk, client: Client) -> None:
    manager = client(subject="ann")
    ticket = await opened(manager)
    stages = [ticket["stage"]]
    for name, body in (("transfer", {"unit": "payments"}), ("analysis", ANALYSIS), ("improvement", PLAN), ("improvement", DONE)):
        answer = await step(manager, ticket, name, body)
        assert answer.status_code == 200, answer.text
        ticket = answer.json()
        assert answer.headers["ETag"] == f'"{ticket["version"]}"'
        stages.append(ticket["stage"])
    ticket = (await step(manager, ticket, "evaluation", EFFECTIVE)).json()
    assert [*stages, ticket["stage"]] == ["discover", "analyse", "improve", "improve", "evaluate", "closed"]
    assert (ticket["outcome"], ticket["allowed"], ticket["unit"]) == ("effective", [], "payments")
    assert ticket["analysis"] == ANALYSIS
    assert ticket["evaluation"]["measured"].keys() == {"usual", "before", "after"}

    lines = (await manager.get(f"/v1/tickets/{ticket['id']}/history")).json()["items"]
    assert [line["action"] for line in lines] == ["open", "transfer", "analysis", "improvement", "improvement", "evaluation"]
    assert {line["actor"] for line in lines} == {"ann"}
    assert lines[0]["reason"] == "40 calls since Monday"
    said = [(e["type"], e["data"]["stage"], e["data"].get("from_stage"), e["sequence"]) for e in await desk.said()]
    assert said == [
        ("ticket.opened.v1", "discover", None, "1"),
        ("ticket.stage_changed.v1", "analyse", "discover", "2"),
        ("ticket.stage_changed.v1", "improve", "analyse", "3"),
        ("ticket.stage_changed.v1", "evaluate", "improve", "5"),
        ("ticket.closed.v1", "closed", "evaluate", "6"),
    ]


async def test_an_analysis_takes_up_a_ticket_that_nobody_dispatched(client: Client) -> None:
    manager = client()
    ticket = (await step(manager, await opened(manager), "analysis", ANALYSIS)).json()
    assert (ticket["stage"], ticket["version"]) == ("improve", 3)
    lines = (await manager.get(f"/v1/tickets/{ticket['id']}/history")).json()["items"]
    assert [(line["action"], line["to_stage"]) for line in lines[1:]] == [("take_up", "analyse"), ("analysis", "improve")]


async def test_an_evaluation_that_is_not_passed_sends_the_ticket_round_again(client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    for name, body in (("analysis", ANALYSIS), ("improvement", DONE)):
        ticket = (await step(manager, ticket, name, body)).json()
    ticket = (await step(manager, ticket, "evaluation", {"verdict": "not_effective", "text": "As many as before."})).json()
    assert (ticket["stage"], ticket["round"], ticket["analysis"]) == ("analyse", 2, None)
    back = await step(manager, ticket, "return", {"reason": "not enough evidence"})
    assert back.json()["stage"] == "discover"


async def test_an_illegal_step_is_409_and_names_what_is_allowed(client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    answer = await step(manager, ticket, "evaluation", EFFECTIVE)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["allowed"] == ["analysis", "close", "transfer"]
    assert "analysis or close or transfer" in answer.json()["detail"]


async def test_a_change_needs_the_version_that_was_read(client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    path = f"/v1/tickets/{ticket['id']}/transfer"
    assert (await manager.post(path, json={"unit": "a"})).status_code == 428
    assert (await step(manager, ticket, "transfer", {"unit": "a"})).status_code == 200
    assert (await step(manager, ticket, "transfer", {"unit": "b"})).status_code == 412
    assert (await manager.get(f"/v1/tickets/{ticket['id']}")).headers["ETag"] == '"2"'


async def test_of_two_who_change_one_version_one_wins(client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    answers = await asyncio.gather(*[step(manager, ticket, "transfer", {"unit": f"u{n}"}) for n in range(6)])
    assert sorted(a.status_code for a in answers) == [200] + [412] * 5


async def test_a_repeated_request_gets_the_first_answer(desk: Desk, client: Client) -> None:
    manager = client()
    body, headers = new(), {"Idempotency-Key": "k-1"}
    first, second = [await manager.post("/v1/tickets", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())
    other = await manager.post("/v1/tickets", json=new(title="another"), headers=headers)
    assert other.status_code == 422
    ticket = first.json()
    steps = [await step(manager, ticket, "transfer", {"unit": "a"}, **{"Idempotency-Key": "k-2"}) for _ in range(2)]
    assert [(s.status_code, s.headers["ETag"]) for s in steps] == [(200, '"2"')] * 2
    assert len(await desk.said()) == 2


async def test_a_cause_has_one_open_ticket_also_by_hand(client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    again = await manager.post("/v1/tickets", json=new())
    assert again.status_code == 409
    assert ticket["id"] in again.json()["detail"]
    elsewhere = await client(regions=("SZ",)).post("/v1/tickets", json=new(regions=["SZ"]))
    assert elsewhere.status_code == 409
    assert ticket["id"] not in elsewhere.text
    await step(manager, ticket, "close", {"outcome": "unfounded", "reason": "a test call"})
    assert (await manager.post("/v1/tickets", json=new())).status_code == 201


async def test_a_firing_is_added_to_a_ticket_that_was_opened_by_hand(desk: Desk, client: Client) -> None:
    manager = client()
    ticket = await opened(manager)
    await desk.take(escalated(NOON, topic="top_up"))
    shown = (await manager.get(f"/v1/tickets/{ticket['id']}")).json()
    assert (shown["firings"], shown["evidence"][0]["trigger"]) == (1, "escalated")


async def test_evidence_shows_ids_regions_and_figures_of_the_tokens_regions(desk: Desk, client: Client) -> None:
    desk = desk.with_settings(hot_customers=10)
    await desk.take(*[complaint(NOON + timedelta(minutes=n), topic="top_up", region=("NJ", "SZ")[n % 2]) for n in range(10)])
    await desk.state(NOON + timedelta(hours=1))
    [everything] = (await client("analyst").get("/v1/tickets")).json()["items"]
    assert everything["regions"] == ["NJ", "SZ"]
    answer = await client("analyst", ("SZ",)).get(f"/v1/tickets/{everything['id']}")
    shown = answer.json()
    assert shown["regions"] == ["SZ"]
    [firing] = shown["evidence"]
    assert firing["regions"] == {"SZ": 5}
    assert len(firing["complaints"]) == 5
    assert {c["region"] for c in firing["complaints"]} == {"SZ"}
    assert (firing["expected"], firing["observed"]) == (10, 10)
    assert "13800138000" not in answer.text
    assert "the text" not in answer.text


async def test_who_sees_what(desk: Desk, client: Client) -> None:
    ticket = await opened(client(), regions=["NJ", "SZ"])
    await desk.take(breached(NOON, "whole_operator", dimensions={}))
    assert len((await client().get("/v1/tickets")).json()["items"]) == 2
    near, far = client(regions=("SZ", "WX")), client(regions=("WX",))
    assert [t["id"] for t in (await near.get("/v1/tickets")).json()["items"]] == [ticket["id"]]
    assert (await far.get("/v1/tickets")).json()["items"] == []
    for path in ("", "/history"):
        assert (await far.get(f"/v1/tickets/{ticket['id']}{path}")).status_code == 404
    assert (await step(far, ticket, "transfer", {"unit": "a"})).status_code == 404
    assert (await near.get("/v1/tickets?region=NJ")).status_code == 403
    assert (await near.post("/v1/tickets", json=new(cause="topic:x", regions=["NJ"]))).status_code == 403
    mine = await opened(near, cause="topic:y", regions=[])
    assert mine["regions"] == ["SZ", "WX"]


@pytest.mark.parametrize(
    ("role", "read", "write"), [(None, 401, 401), ("producer", 403, 403), ("agent", 403, 403), ("analyst", 200, 403)]
)
async def test_every_route_needs_its_scope(client: Client, role: str | None, read: int, write: int) -> None:
    ticket = await opened(client())
    someone = client(role)
    for path in ("/v1/tickets", f"/v1/tickets/{ticket['id']}", f"/v1/tickets/{ticket['id']}/history"):
        assert (await someone.get(path)).status_code == read
    assert (await someone.post("/v1/tickets", json=new())).status_code == write
    for name in ("analysis", "improvement", "evaluation", "return", "transfer", "close"):
        assert (await step(someone, ticket, name, {})).status_code == write


async def test_lists_are_filtered_and_paged(desk: Desk, client: Client) -> None:
    manager = client()
    await desk.take(
        *[escalated(NOON + timedelta(minutes=n), topic=f"t{n}", region=("NJ", "SZ")[n % 2]) for n in range(5)],
        breached(NOON, "late_calls"),
    )
    last = (await manager.get("/v1/tickets?topic_path=t4")).json()["items"][0]
    await step(manager, last, "transfer", {"unit": "billing"})

    async def causes(query: str) -> list[str]:
        found, cursor = [], ""
        while True:
            page = (await manager.get(f"/v1/tickets?limit=2&{query}{cursor}")).json()
            found += [t["cause"].removeprefix("topic:") for t in page["items"]]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    assert await causes("trigger=escalated") == ["t4", "t3", "t2", "t1", "t0"]
    assert await causes("region=SZ") == ["t3", "t1"]
    assert await causes("stage=analyse") == await causes("unit=billing") == ["t4"]
    assert await causes("indicator_id=late_calls") == ["indicator:late_calls{region=NJ}"]
    assert await causes("cause=topic:t2") == ["t2"]
    assert len(await causes("open=true")) == 6
    assert await causes("open=false") == []
    assert (await manager.get("/v1/tickets?cursor=nonsense")).status_code == 422
    assert (await manager.get("/v1/tickets?stage=nonsense")).status_code == 422
    assert (await manager.get("/v1/tickets?unit=%00")).status_code == 422
    huge = encode_cursor([10**30])
    assert (await manager.get(f"/v1/tickets/{last['id']}/history?cursor={huge}")).status_code == 422


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("analysis", ANALYSIS | {"problem_type": "weather"}, "problem_type"),
        ("analysis", ANALYSIS | {"methods": []}, "methods"),
        ("analysis", {k: v for k, v in ANALYSIS.items() if k != "root_cause"}, "root_cause"),
        ("improvement", {"measures": []}, "measures"),
        ("improvement", {"measures": [{"what": "x", "unit": "y"}]}, "measures.0.due"),
        ("improvement", {"measures": [{"what": "x", "unit": "y", "due": "2026-13-01"}]}, "measures.0.due"),
        ("evaluation", {"verdict": "maybe", "text": "x"}, "verdict"),
        ("evaluation", EFFECTIVE | {"before": float("1e999")}, "before"),
        ("return", {"reason": "  "}, "reason"),
        ("close", {"outcome": "duplicate"}, "reason"),
        ("transfer", {"unit": "a\x00b"}, "unit"),
        ("transfer", {"unit": "a\ud800b"}, "unit"),
        ("transfer", {"unit": "a", "reson": "typo"}, "reson"),
    ],
)
async def test_what_a_stage_requires_is_named(client: Client, name: str, body: dict[str, Any], field: str) -> None:
    manager = client()
    ticket = await opened(manager)
    answer = await manager.post(
        f"/v1/tickets/{ticket['id']}/{name}",
        content=json.dumps(body).replace("Infinity", "1e999"),
        headers={"If-Match": '"1"', "content-type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert field in [e["field"].removeprefix("body.") for e in answer.json()["errors"]]


async def test_the_effect_is_counted_before_and_after_the_improvement(desk: Desk, client: Client) -> None:
    manager = client()
    now = datetime.now(UTC)
    await desk.take(*[complaint(now - timedelta(days=n % 28, minutes=30), topic="top_up") for n in range(56)])
    ticket = await opened(manager)
    assert ticket["effect"]["usual"] == pytest.approx(2, rel=0.1)
    assert ticket["effect"]["after"] is None
    no_topic = await opened(manager, cause="indicator:x{region=NJ}")
    assert no_topic["effect"] is None
