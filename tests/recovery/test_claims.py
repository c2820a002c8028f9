"""The next customer to call: in order, nobody twice, and never lost with an agent who vanishes."""

import pytest

from closedloop.common.http.problems import Conflict, Forbidden
from closedloop.recovery.service import Asked
from recovery.desk import HOUR, MINUTE, START, Desk, at_once, principal, rating

LEASE = 10 * MINUTE


async def test_whoever_is_due_first_is_called_first(desk: Desk) -> None:
    await desk.take(rating("late", START - MINUTE), rating("latest", START), rating("first", START - 90 * MINUTE))
    got = [await desk.claim(agent) for agent in ("ann", "bob", "cleo", "dan")]
    assert [claim and claim["customer_id"] for claim in got] == ["first", "late", "latest", None]


async def test_an_agent_who_still_holds_one_gets_the_same_again(desk: Desk) -> None:
    await desk.take(rating("C1"), rating("C2"))
    first = await desk.claim("ann")
    desk.now += LEASE - MINUTE
    assert await desk.claim("ann") == first


async def test_two_hundred_agents_in_two_processes_never_hold_the_same_customer(desk: Desk) -> None:
    other = desk.with_rules()
    await desk.take(*(rating(f"C{n}", START - n * MINUTE / 60) for n in range(350)))
    claims = await at_once(*((desk if n % 2 else other).claim(f"agent {n}") for n in range(200)))
    assert len({claim["recovery_id"] for claim in claims}) == 200
    # all come back at once, the first hundred after a call, the others with what they hold
    await at_once(*(desk.call(f"agent {n}", claims[n]) for n in range(100)))
    again = await at_once(*((other if n % 2 else desk).claim(f"agent {n}") for n in range(200)))
    assert [claim["recovery_id"] for claim in again[100:]] == [claim["recovery_id"] for claim in claims[100:]]
    assert len({claim["recovery_id"] for claim in again} | {claim["recovery_id"] for claim in claims}) == 300
    # those who waited longest are gone
    waiting = await desk.pool.fetch("SELECT customer_id FROM recovery WHERE status = 'waiting'")
    assert {row["customer_id"] for row in waiting} == {f"C{n}" for n in range(50)}


async def test_an_agent_who_asks_several_processes_at_once_is_given_one_customer(desk: Desk) -> None:
    processes = [desk.with_rules() for _ in range(4)]
    await at_once(*(desk.pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(20)))  # all connections are open
    await desk.take(*(rating(f"C{n}") for n in range(100)))
    for n in range(20):
        claims = await at_once(*(process.claim(f"agent {n}") for process in processes for _ in range(3)))
        assert len({claim["recovery_id"] for claim in claims}) == 1
    held = await desk.pool.fetch("SELECT held_by FROM recovery WHERE status = 'claimed'")
    assert sorted(row["held_by"] for row in held) == sorted(f"agent {n}" for n in range(20))


async def test_agents_get_customers_of_their_regions_and_segment_only(desk: Desk) -> None:
    await desk.take(
        rating("SZ-1", START - HOUR, region="SZ"),
        rating("NJ-hotline", START, region="NJ", kind="sms_rating", channel="hotline"),
        rating("NJ-1", START - MINUTE, region="NJ"),
        rating("WX-1", START - 2 * MINUTE, region="WX"),
        rating("NJ-diamond", START - 3 * MINUTE, region="NJ", customer_class="diamond"),
    )

    async def name(agent: str, regions: list[str] | None = None, **wanted: str) -> str | None:
        claim = await desk.claim(agent, regions, **wanted)
        return None if claim is None else claim["customer_id"]

    assert await name("hot", ["NJ", "SZ"], segment="hotline") == "NJ-hotline"
    assert await name("manager", segment="phone_manager") == "NJ-diamond"
    assert await name("ann", ["NJ", "WX"]) == "WX-1"
    assert await name("bob", ["NJ", "WX"], region="NJ") == "NJ-1"
    assert await name("cleo", ["NJ", "WX"]) is None
    assert await name("dan") == "SZ-1"
    with pytest.raises(Forbidden):
        await desk.claim("eve", ["NJ"], region="SZ")


async def test_a_claim_that_ran_out_goes_to_the_next_who_asks_with_a_higher_number(desk: Desk) -> None:
    await desk.take(rating("C1", START - HOUR), rating("C2"))
    lost = await desk.claim("ann")
    assert lost is not None
    desk.now += LEASE
    taken = await desk.claim("bob")
    assert taken is not None
    assert (taken["customer_id"], taken["claim_number"]) == ("C1", lost["claim_number"] + 1)
    with pytest.raises(Conflict):
        await desk.heartbeat("ann", lost)
    with pytest.raises(Conflict):
        await desk.release("ann", lost)
    with pytest.raises(Conflict):
        await desk.call("ann", lost)
    story = await desk.story(taken["recovery_id"])
    assert [(h["action"], h["actor"], h["why"]) for h in story["history"][1:]] == [
        ("claimed", "ann", None),
        ("claimed", "bob", "the lease of ann ran out"),
    ]


async def test_an_agent_gets_his_own_again_after_it_ran_out_if_it_is_still_there(desk: Desk) -> None:
    await desk.take(rating("C1"), rating("C2", START - HOUR))
    first = await desk.claim("ann")
    desk.now += LEASE + MINUTE
    again = await desk.claim("ann")
    assert first is not None
    assert again is not None
    assert (again["recovery_id"], again["claim_number"]) == (first["recovery_id"], first["claim_number"] + 1)


async def test_a_heartbeat_keeps_the_claim(desk: Desk) -> None:
    await desk.take(rating("C1"))
    claim = await desk.claim("ann")
    assert claim is not None
    for _ in range(5):
        desk.now += LEASE - MINUTE
        await desk.heartbeat("ann", claim)
    assert await desk.claim("bob") is None
    desk.now += LEASE
    with pytest.raises(Conflict):
        await desk.heartbeat("ann", claim)


async def test_a_customer_given_back_stands_where_he_stood(desk: Desk) -> None:
    await desk.take(rating("C1", START - HOUR), rating("C2"))
    claim = await desk.claim("ann")
    assert claim is not None
    await desk.release("ann", claim)
    again = await desk.claim("bob")
    assert again is not None
    assert (again["customer_id"], again["claim_number"]) == ("C1", 2)
    with pytest.raises(Conflict):
        await desk.heartbeat("ann", claim)


async def test_upkeep_gives_back_what_ran_out_and_says_so(desk: Desk) -> None:
    await desk.take(rating("C1"))
    claim = await desk.claim("ann")
    assert claim is not None
    desk.now += LEASE - MINUTE
    await desk.upkeep.tend()
    assert (await desk.story(claim["recovery_id"]))["status"] == "claimed"
    desk.now += MINUTE
    await desk.upkeep.tend()
    story = await desk.story(claim["recovery_id"])
    assert (story["status"], story["held_by"]) == ("waiting", None)
    assert story["history"][-1]["why"] == "the lease of ann ran out"


async def test_a_repeated_request_gets_its_first_answer(desk: Desk) -> None:
    await desk.take(rating("C1"), rating("C2"))
    asked = Asked(principal("ann"), "key-1", b"POST /v1/claims")
    _, first = await desk.claims.claim(asked)
    await desk.call("ann", first)
    status, again = await desk.claims.claim(asked)
    assert (status, str(again["recovery_id"])) == (200, str(first["recovery_id"]))
    next_one = await desk.claim("ann")
    assert next_one is not None
    assert next_one["customer_id"] == "C2"


async def test_repetitions_at_the_same_moment_are_one_claim_and_need_no_connection_each(desk: Desk) -> None:
    await desk.take(*(rating(f"C{n}") for n in range(60)))
    asked = [Asked(principal(f"agent {n % 30}"), f"key {n % 30}", b"POST /v1/claims") for n in range(60)]
    answers = await at_once(*(desk.claims.claim(one) for one in asked))
    assert len({str(body["recovery_id"]) for _, body in answers}) == 30
