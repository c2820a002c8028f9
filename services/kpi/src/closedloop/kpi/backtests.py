"""Use case: a changed threshold or a new rule over history, beside what was really stated then. Nothing is written."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from closedloop.common.events.model import IndicatorBreachData
from closedloop.common.postgres.pool import Pool
from closedloop.kpi import state_store as store
from closedloop.kpi.domain.backtest import Backtest, Breach, overlapping, paired
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.statement import Judge, Statement, minute_at
from closedloop.kpi.domain.states import RANKS
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.domain.windows import minute_of
from closedloop.kpi.statements import Totals
from closedloop.kpi.value import REGION


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules would have raised, and what was really stated in that time."""

    raised: list[Breach]
    stated: list[Breach]


class Backtests:
    """One at a time in this process: a year of buckets takes its while."""

    def __init__(self, pool: Pool, buckets: Totals, zone: ZoneInfo) -> None:
        self._pool = pool
        self._buckets = buckets
        self._zone = zone
        self._one = asyncio.Semaphore(1)

    async def run(
        self, indicator: EventIndicator, rules: Sequence[Threshold | Control], since: int, until: int, regions: Sequence[str] | None
    ) -> Outcome:
        """Over the minutes in (since, until]; `regions`: the token's, None for all. Raises TooManySeries."""
        raised: list[Breach] = []
        async with self._one:
            for rule in rules:
                test = Backtest(indicator, rule, self._zone, since, until)
                for round_ in test.rounds:
                    totals = await self._buckets.totals(indicator, rule.by, round_.reads_from, round_.reads_to)
                    if regions is not None:
                        totals = totals.filter(totals[REGION].is_in(list(regions)))
                    await asyncio.to_thread(test.take, round_, totals)
                raised += test.breaches()
        raised.sort(key=lambda breach: (breach.begin, breach.series))
        return Outcome(raised, await self._stated(indicator.id, since, until, regions))

    async def _stated(self, indicator_id: str, since: int, until: int, regions: Sequence[str] | None) -> list[Breach]:
        rows = await store.read_statements(self._pool, indicator_id, regions, minute_at(until))
        return overlapping(paired(_statement(row) for row in rows), since, until)


def _statement(row: store.Row) -> Statement:
    data = msgspec.convert(row["data"], IndicatorBreachData)
    worst = RANKS["critical"] if row["kind"] == "breached" else 0
    rank = worst if data.level is None else RANKS[data.level]
    judged_by: Judge = "control" if row["series"].startswith(f"{row['indicator_id']}.control") else "threshold"
    return Statement(minute_of(row["at"]), row["kind"], row["reason"], data, judged_by, rank)
