"""The queue against a model of ten lines: whatever agents do in whatever order, the database gives whom the model gives."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from closedloop.common.http.problems import Conflict
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.recovery.domain.contacts import Result
from recovery.desk import MINUTE, Desk, rating

AGENTS = st.sampled_from(["ann", "bob", "cleo"])
CUSTOMERS = st.sampled_from(["C1", "C2", "C3", "C4", "C5"])
DAY = timedelta(days=1)


class Case:
    """One open recovery in the model."""

    def __init__(self, customer: str, due: datetime) -> None:
        self.customer = customer
        self.due = due
        self.status = "waiting"
        self.available = due
        self.agent = ""
        self.lease = due
        self.number = 0
        self.attempts = 0


class Queue(RuleBasedStateMachine):
    """Times of signals are distinct by a microsecond, so that the order is never a matter of taste."""

    runner: ClassVar[asyncio.Runner]
    admin_url: ClassVar[str]
    pool: ClassVar[Pool]

    def __init__(self) -> None:
        super().__init__()
        self.runner.run(self._empty())
        self.desk = Desk(self.pool)
        self.cases: dict[str, Case] = {}
        self.calls: dict[str, list[datetime]] = {}
        self.claims: list[tuple[str, dict[str, Any]]] = []
        self.signals = 0

    async def _empty(self) -> None:
        # the service's role may not drop contacts that count
        administrator = await asyncpg.connect(self.admin_url)
        for table in ("recovery_contact", "contact", "signal", "recovery", "inbox", "outbox"):
            await administrator.execute(f"DELETE FROM recovery.{table}")
        await administrator.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # --- what happens ---

    @rule(customer=CUSTOMERS, age=st.integers(0, 26 * 60))
    def a_customer_is_dissatisfied(self, customer: str, age: int) -> None:
        self.signals += 1
        at = self.desk.now - age * MINUTE + timedelta(microseconds=self.signals)
        self.do(self.desk.take(rating(customer, at)))
        if self.desk.now - at > DAY:
            return
        case = self.cases.get(customer)
        if case is None:
            self.cases[customer] = Case(customer, at + 120 * MINUTE)
        elif case.attempts == 0:
            case.due = min(case.due, at + 120 * MINUTE)

    @rule(agent=AGENTS)
    def an_agent_claims(self, agent: str) -> None:
        given = self.do(self.desk.claim(agent))
        expected = self._next(agent)
        assert (given and given["customer_id"]) == (expected and expected.customer)
        if given and expected:
            assert given["claim_number"] == expected.number
            self.claims.append((agent, given))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), what=st.sampled_from(["heartbeat", "release"]))
    def an_agent_keeps_or_gives_back(self, data: st.DataObject, what: str) -> None:
        agent, claim = data.draw(st.sampled_from(self.claims), label="claim")
        case = self._held_by(agent, claim)
        try:
            self.do(getattr(self.desk, what)(agent, claim))
        except Conflict:
            assert case is None
            return
        assert case is not None
        if what == "release":
            case.status = "waiting"
        else:
            case.lease = self.desk.now + self.desk.rules.lease

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), result=st.sampled_from(["resolved", "no_answer", "follow_up"]))
    def an_agent_records_a_call(self, data: st.DataObject, result: Result) -> None:
        agent, claim = data.draw(st.sampled_from(self.claims), label="claim")
        if claim["dissatisfied_at"] > self.desk.now:
            return
        case = self.cases.get(claim["customer_id"])
        blocked = case is not None and case.status == "claimed" and case.lease > self.desk.now and case.agent != agent
        before = self.do(self.desk.story(claim["recovery_id"]))
        try:
            after = self.do(self.desk.call(agent, claim, result))
        except Conflict:
            assert blocked
            return
        assert not blocked
        assert len(self.do(self.desk.story(claim["recovery_id"]))["contacts"]) == len(before["contacts"]) + 1
        self.calls.setdefault(claim["customer_id"], []).append(self.desk.now)
        if before["status"] == "closed":
            assert after["status"] == "closed"
            return
        assert case is not None
        case.attempts += 1
        if result == "resolved" or (result == "no_answer" and case.attempts > 3):
            del self.cases[case.customer]
        else:
            wait = self.desk.rules.retries[min(case.attempts, 3) - 1]
            case.status, case.available = "deferred", self.desk.now + wait
            case.due = case.available + 30 * MINUTE

    @rule(minutes=st.sampled_from([1, 5, 11, 60, 300, 1500]))
    def time_passes(self, minutes: int) -> None:
        self.desk.now += minutes * MINUTE

    @rule()
    def upkeep_runs(self) -> None:
        self.do(self.desk.upkeep.tend())
        for case in self.cases.values():
            ends = {"claimed": case.lease, "deferred": case.available}.get(case.status)
            if ends is not None and ends <= self.desk.now:
                case.status = "waiting"

    @invariant()
    def nobody_is_held_twice_and_what_is_open_is_what_the_model_has(self) -> None:
        rows = self.do(self.pool.fetch("SELECT customer_id, status, held_by FROM recovery WHERE status <> 'closed'"))
        found = {row["customer_id"]: (row["status"], row["held_by"] or "") for row in rows}
        expected = {c.customer: (c.status, c.agent if c.status == "claimed" else "") for c in self.cases.values()}
        assert found == expected
        agents = [row["held_by"] for row in rows if row["held_by"]]
        assert len(agents) == len(set(agents))

    # --- the model ---

    def _next(self, agent: str) -> Case | None:
        claimed = [c for c in self.cases.values() if c.status == "claimed"]
        held = next((c for c in claimed if c.agent == agent and c.lease > self.desk.now), None)
        if held:
            return held
        own = [c for c in claimed if c.agent == agent]
        expired = sorted((c for c in claimed if c.lease <= self.desk.now), key=lambda c: (c.lease, c.due))
        waiting = sorted((c for c in self.cases.values() if c.status == "waiting"), key=lambda c: c.due)
        for case in [*own, *expired, *waiting]:
            allowed = self._allowed_at(case.customer)
            if allowed is None:
                case.status, case.agent, case.lease = "claimed", agent, self.desk.now + self.desk.rules.lease
                case.number += 1
                return case
            case.status, case.available = "deferred", allowed
        return None

    def _allowed_at(self, customer: str) -> datetime | None:
        calls = sorted(self.calls.get(customer, []), reverse=True)
        full = [
            calls[limit.at_most - 1] + limit.window
            for limit in self.desk.rules.limits
            if len(calls) >= limit.at_most and calls[limit.at_most - 1] > self.desk.now - limit.window
        ]
        return max(full, default=None)

    def _held_by(self, agent: str, claim: dict[str, Any]) -> Case | None:
        case = self.cases.get(claim["customer_id"])
        if case and case.status == "claimed" and case.agent == agent and case.lease > self.desk.now:
            row = self.do(self.pool.fetchval("SELECT recovery_id FROM recovery WHERE held_by = $1", agent))
            return case if (row, case.number) == (claim["recovery_id"], claim["claim_number"]) else None
        return None


def test_the_queue_gives_whom_the_model_gives(recovery_url: str, postgres_admin_url: str) -> None:
    with asyncio.Runner() as runner:
        Queue.runner = runner
        Queue.admin_url = urlunsplit(urlsplit(postgres_admin_url)._replace(path=urlsplit(recovery_url).path))
        Queue.pool = runner.run(_pool(recovery_url))
        try:
            run_state_machine_as_test(
                Queue,
                settings=settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
            )
        finally:
            runner.run(Queue.pool.close())


async def _pool(url: str) -> Any:
    return await create_pool(url, "recovery", max_size=4)
