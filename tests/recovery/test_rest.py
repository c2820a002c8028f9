"""The routes as a client sees them: scopes, regions, masked phones, problems, pages, repetitions."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from closedloop.common.auth.tokens import Authenticator
from closedloop.common.http.app import Health, create_app
from closedloop.common.settings import AuthSettings
from closedloop.local.issuer import Issuer
from closedloop.recovery import api, reservations_api
from recovery.desk import HOUR, MINUTE, START, Desk, at_once, closed_complaint, rating
from recovery.running import bearer

PHONE = "+8613800138007"


class Client:
    """A client of the routes over one desk."""

    def __init__(self, http: httpx2.AsyncClient, issuer: Issuer) -> None:
        self._http = http
        self._issuer = issuer

    async def get(self, path: str, role: str = "agent", who: str = "ann", regions: tuple[str, ...] = (), **query: Any) -> Any:
        return await self._http.get(path, headers=bearer(self._issuer, role, who, *regions), params=query)

    async def post(
        self,
        path: str,
        body: Any = None,
        role: str = "agent",
        who: str = "ann",
        regions: tuple[str, ...] = (),
        key: str | None = None,
    ) -> Any:
        headers = bearer(self._issuer, role, who, *regions) | ({"Idempotency-Key": key} if key else {})
        return await self._http.post(path, headers=headers, json=body)


@pytest.fixture
async def client(desk: Desk, tmp_path: Path) -> AsyncIterator[Client]:
    issuer = Issuer(tmp_path)
    trust = {name.removeprefix("AUTH_").lower(): value for name, value in issuer.environment().items()}
    auth = AuthSettings(issuer=trust["issuer"], audience=trust["audience"], jwks_url=trust["jwks_url"], algorithms=("ES256",))

    @contextlib.asynccontextmanager
    async def nothing_else(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(
        "recovery",
        "test",
        authenticator=Authenticator(auth),
        health=Health(),
        routers=[api.router, reservations_api.router],
        lifespan=nothing_else,
    )
    app.state.claims, app.state.recoveries, app.state.reservations = desk.claims, desk.recoveries, desk.reservations
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Client(http, issuer)


async def test_a_whole_call(desk: Desk, client: Client) -> None:
    await desk.take(rating("C1", START - HOUR, phone=PHONE, comment="call me on 13800138007"))
    assert (await client.post("/v1/claims", who="bob", regions=("SZ",))).status_code == 204
    claim = (await client.post("/v1/claims", regions=("NJ",))).json()
    path = f"/v1/recoveries/{claim['recovery_id']}"
    held = await client.post(f"{path}/heartbeat", {"claim_number": claim["claim_number"]})
    assert held.json()["lease_until"] >= claim["lease_until"]
    call = {"claim_number": claim["claim_number"], "reached": False, "result": "busy"}
    recorded = await client.post(f"{path}/contacts", call)
    assert (recorded.status_code, recorded.json()["recovery"]["status"]) == (201, "deferred")
    story = await client.get(path, role="analyst")
    assert story.headers["etag"] == f'"{story.json()["version"]}"'
    assert [c["result"] for c in story.json()["contacts"]] == ["busy"]
    assert [h["action"] for h in story.json()["history"]] == ["queued", "claimed", "heartbeat", "contacted"]
    for answer in (held, recorded, story):
        assert "13800138007" not in answer.text
        assert "***07" in answer.text


@pytest.mark.parametrize("body", [{"region": "NJ"}, {"segment": "outbound_city"}, {}])
async def test_a_claim_may_say_whom(desk: Desk, client: Client, body: dict[str, str]) -> None:
    await desk.take(rating("hot", START - HOUR, region="SZ", kind="sms_rating", channel="hotline"), rating("C1"))
    claim = await client.post("/v1/claims", body)
    assert claim.json()["customer_id"] == ("C1" if body else "hot")


async def test_every_route_needs_its_scope_and_what_is_foreign_is_not_there(desk: Desk, client: Client) -> None:
    await desk.take(rating("C1", region="NJ", phone=PHONE))
    claim = (await client.post("/v1/claims")).json()
    path = f"/v1/recoveries/{claim['recovery_id']}"
    call = {"reached": False, "result": "busy", "claim_number": 1}
    posts = [
        ("/v1/claims", None, "agent"),
        (f"{path}/heartbeat", {"claim_number": 1}, "agent"),
        (f"{path}/release", {"claim_number": 1}, "agent"),
        (f"{path}/contacts", call, "agent"),
        (f"{path}/reveal-phone", {"why": "to call"}, "agent"),
        ("/v1/contacts/reservations", {"customer_id": "C1", "region": "NJ", "purpose": "survey"}, "manager"),
        (f"/v1/contacts/reservations/{uuid4()}/confirm", None, "manager"),
        (f"/v1/contacts/reservations/{uuid4()}/release", None, "manager"),
    ]
    for route, body, _ in posts:
        for role in ("producer", "analyst"):
            assert (await client.post(route, body, role=role)).status_code == 403, route
    for route, body, role in posts[1:5]:
        assert (await client.post(route, body, role=role, regions=("SZ",))).status_code == 404, route
    for route in ("/v1/recoveries", path):
        assert (await client.get(route, role="producer")).status_code == 403
    assert (await client.get(path, regions=("SZ",))).status_code == 404
    assert (await client.get("/v1/recoveries", regions=("SZ",))).json()["items"] == []
    assert (await client.get("/v1/recoveries", regions=("SZ",), region="NJ")).status_code == 403
    assert (await client.post("/v1/claims", {"region": "NJ"}, regions=("SZ",))).status_code == 403
    reserve = {"customer_id": "C1", "region": "NJ", "purpose": "survey"}
    assert (await client.post("/v1/contacts/reservations", reserve, role="manager", regions=("SZ",))).status_code == 403


async def test_the_holder_and_a_manager_see_the_number_and_it_is_written_down(desk: Desk, client: Client) -> None:
    await desk.take(rating("C1", phone=PHONE), rating("C2", START + MINUTE))
    claim = (await client.post("/v1/claims")).json()
    path = f"/v1/recoveries/{claim['recovery_id']}/reveal-phone"
    assert (await client.post(path, {"why": "curious"}, who="bob")).status_code == 403
    assert (await client.post(path, {})).status_code == 422
    assert (await client.post(path, {"why": "to call him"})).json()["phone"] == PHONE
    assert (await client.post(path, {"why": "complaint"}, role="manager", who="meg")).json()["phone"] == PHONE
    seen = await desk.rows("phone_reveal_history", "history_id")
    assert [(s["actor"], s["why"]) for s in seen] == [("ann", "to call him"), ("meg", "complaint")]
    desk.now += HOUR
    assert (await client.post(path, {"why": "again"})).status_code == 403


async def test_a_repeated_reveal_is_written_down_once_and_its_number_is_kept_nowhere(desk: Desk, client: Client) -> None:
    await desk.take(rating("C1", phone=PHONE))
    claim = (await client.post("/v1/claims")).json()
    path = f"/v1/recoveries/{claim['recovery_id']}/reveal-phone"
    answers = await at_once(*(client.post(path, {"why": "to call him"}, key="k") for _ in range(3)))
    assert [a.json() for a in answers] == [{"recovery_id": claim["recovery_id"], "phone": PHONE}] * 3
    assert len(await desk.rows("phone_reveal_history")) == 1
    assert PHONE not in str(await desk.rows("idempotency_key"))
    assert (await client.post(path, {"why": "another"}, key="k")).status_code == 422
    assert (await client.post(path, {"why": "to call him"}, who="bob", key="k")).status_code == 403
    desk.now += HOUR
    assert (await client.post(path, {"why": "to call him"}, key="k")).status_code == 403, "the claim ran out meanwhile"
    assert [s["actor"] for s in await desk.rows("phone_reveal_history")] == ["ann"]


async def test_a_repeated_record_is_one_contact_and_another_body_under_its_key_is_refused(desk: Desk, client: Client) -> None:
    await desk.take(rating("C1"))
    claim = (await client.post("/v1/claims")).json()
    path = f"/v1/recoveries/{claim['recovery_id']}/contacts"
    call = {"claim_number": claim["claim_number"], "reached": True, "result": "resolved", "reason": "bill_wrong"}
    answers = await at_once(*(client.post(path, call, key="k1") for _ in range(5)))
    assert {a.status_code for a in answers} == {201}
    assert all(a.json() == answers[0].json() for a in answers)
    assert len(await desk.rows("recovery_contact")) == 1
    assert (await client.post(path, call | {"result": "declined"}, key="k1")).status_code == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reached": None}, "reached"),
        ({"result": "fine"}, "result"),
        ({"result": "busy"}, "result"),
        ({"reason": "whim"}, "reason"),
        ({"note": "a\x00b"}, "note"),
        ({"contacted_at": "2026-11-20T08:00:00"}, "contacted_at"),
        ({"contacted_at": "0001-01-01T00:00:00+23:59"}, "contacted_at"),
        ({"next_attempt_at": "2026-11-21T08:00:00Z"}, "next_attempt_at"),
        ({"claim_number": 2**63}, "claim_number"),
        ({"resault": "resolved"}, "resault"),
    ],
)
async def test_a_wrong_body_is_refused_by_field(desk: Desk, client: Client, change: dict[str, Any], field: str) -> None:
    await desk.take(rating("C1"))
    claim = (await client.post("/v1/claims")).json()
    call = {"claim_number": 1, "reached": True, "result": "resolved", "reason": "bill_wrong"} | change
    answer = await client.post(f"/v1/recoveries/{claim['recovery_id']}/contacts", call)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "nonsense"},
        {"cursor": "WyIyMDI2LTExLTIwVDA4OjAwOjAwIiwgIjEyIl0"},
        {"status": "lost"},
        {"customer_id": "a\x00b"},
        {"region": "N J"},
        {"due_before": "2026-11-20"},
        {"limit": 0},
    ],
)
async def test_a_wrong_filter_is_refused(client: Client, query: dict[str, Any]) -> None:
    assert (await client.get("/v1/recoveries", **query)).status_code == 422


async def test_lists_are_filtered_and_paged_in_the_order_of_the_queue(desk: Desk, client: Client) -> None:
    await desk.take(
        *(rating(f"C{n}", START - n * MINUTE, region=("NJ", "SZ")[n % 2]) for n in range(9)), closed_complaint("K1", START)
    )
    claim = (await client.post("/v1/claims")).json()

    async def names(**query: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = (await client.get("/v1/recoveries", limit=2, **query)).json()
            found += [item["customer_id"] for item in page["items"]]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    everyone = [f"C{n}" for n in range(8, 0, -1)]
    assert set(await names()) == {*everyone, "C0", "K1"}
    assert (await names())[:8] == everyone
    assert await names(region="SZ") == ["C7", "C5", "C3", "C1"]
    assert await names(status="claimed") == [claim["customer_id"]] == ["C8"]
    assert await names(segment="complaint_centre") == ["K1"]
    assert await names(customer_id="C3") == ["C3"]
    assert await names(due_before=(START + 2 * HOUR - 5 * MINUTE).isoformat()) == ["C8", "C7", "C6"]
    await desk.call("ann", {"recovery_id": claim["recovery_id"], "claim_number": 1}, "no_answer")
    assert await names(contacted="true") == ["C8"]
    assert (await names(contacted="false"))[0] == "C7"


async def test_a_used_up_limit_says_when_the_next_contact_is_allowed(desk: Desk, client: Client) -> None:
    reserve = {"customer_id": "C1", "region": "NJ", "purpose": "campaign"}
    answers = [await client.post("/v1/contacts/reservations", reserve, role="manager") for _ in range(4)]
    assert [a.status_code for a in answers] == [201, 201, 201, 409]
    assert answers[3].json()["allowed_at"].startswith("2026-11-21T08:00:00")
    path = f"/v1/contacts/reservations/{answers[0].json()['reservation_id']}"
    assert (await client.post(f"{path}/release", role="manager")).json()["state"] == "released"
    again = await client.post("/v1/contacts/reservations", reserve, role="manager", key="k")
    assert again.status_code == 201
    confirmed = await client.post(
        f"/v1/contacts/reservations/{again.json()['reservation_id']}/confirm",
        {"contacted_at": START.isoformat()},
        role="manager",
    )
    assert confirmed.json()["state"] == "confirmed"


async def test_unknown_things_are_not_found_and_a_conflict_says_what_is_allowed(desk: Desk, client: Client) -> None:
    assert (await client.post(f"/v1/recoveries/{uuid4()}/heartbeat", {"claim_number": 1})).status_code == 404
    await desk.take(rating("C1"))
    claim = (await client.post("/v1/claims")).json()
    answer = await client.post(f"/v1/recoveries/{claim['recovery_id']}/heartbeat", {"claim_number": 7})
    assert answer.status_code == 409
    assert "claim again" in answer.json()["detail"]
