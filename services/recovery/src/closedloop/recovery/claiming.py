"""The next customer to call."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import asyncpg

from closedloop.common.http.preconditions import once
from closedloop.common.http.problems import Conflict, Unavailable
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.recovery import metrics, views
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.rounds import Rounds
from closedloop.recovery.service import NO_CONTENT, Answer, Asked
from closedloop.recovery.store.claims import Wanted, claim_next
from closedloop.recovery.store.clock import Clock

Given: TypeAlias = asyncpg.Record | Conflict
"""What an agent gets from a round; one agent's conflict is not the others'."""
PUT_OFF_AT_MOST: Final = 200
RACES_AT_MOST: Final = 5


class _NotAnsweredYet(Exception):
    """The key is new; the transaction that found this out is rolled back."""


async def _unknown() -> Answer:
    raise _NotAnsweredYet


class Claims:
    """Agents who ask at the same moment for the same regions are served by one statement."""

    def __init__(self, pool: Pool, rules: Rules, clock: Clock) -> None:
        self._pool = pool
        self._rules = rules
        self._clock = clock
        self._rounds: Rounds[Wanted, Given] = Rounds(self._serve)

    async def claim(self, asked: Asked, region: str | None = None, segment: str | None = None) -> Answer:
        """The next customer to call, or the one that the agent still holds; 204 where nobody waits. Raises Conflict, Forbidden."""
        regions = asked.principal.region_filter(region)
        wanted = Wanted(None if regions is None else tuple(regions), segment)
        if asked.key is None:
            return await self._next(asked.principal.subject, wanted)
        known = await self._once(asked, _unknown)
        if known is not None:
            return known
        # no connection is held while waiting for the round; a repetition at the same moment shares its answer
        answer = await self._next(asked.principal.subject, wanted)

        async def act() -> Answer:
            return answer

        return await self._once(asked, act) or answer

    async def _once(self, asked: Asked, act: Callable[[], Awaitable[Answer]]) -> Answer | None:
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                return await once(connection, asked.key, asked.principal.subject, asked.request, act)
        except _NotAnsweredYet:
            return None

    async def _next(self, agent: str, wanted: Wanted) -> Answer:
        for _ in range(PUT_OFF_AT_MOST):
            row = await self._rounds.ask(wanted, agent)
            if row is None:
                metrics.CLAIMS.labels("none").inc()
                return NO_CONTENT, None
            if isinstance(row, Conflict):
                raise row
            if row["status"] == "deferred":
                metrics.LIMITED.labels("claim").inc()
                continue
            if row["held_before"] is not None:
                metrics.EXPIRIES.inc()
            metrics.CLAIMS.labels("again" if row["status"] == "held" else "new").inc()
            return 200, views.claim(row)
        raise Unavailable("Many waiting customers have used up their contact limit and were put off; ask again.")

    async def _serve(self, wanted: Wanted, agents: Sequence[str]) -> Mapping[str, Given]:
        async with self._pool.acquire() as connection:
            try:
                return await claim_next(connection, agents, wanted, self._rules, self._clock.given())
            except asyncpg.UniqueViolationError:
                # an agent asked another process at the same moment: each by himself now
                alone = [(agent, await self._serve_one(connection, wanted, agent)) for agent in agents]
                return {agent: given for agent, given in alone if given is not None}

    async def _serve_one(self, connection: Connection, wanted: Wanted, agent: str) -> Given | None:
        for _ in range(RACES_AT_MOST):
            try:
                return (await claim_next(connection, [agent], wanted, self._rules, self._clock.given())).get(agent)
            except asyncpg.UniqueViolationError:
                continue
        return Conflict("This agent holds a recovery outside of this token's regions. Record its contact or release it first.")
