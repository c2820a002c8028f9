"""Use case: a changed threshold, a new rule or changed levels over history, beside what was really stated then. Nothing is
written."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from zoneinfo import ZoneInfo

from closedloop.common.postgres.pool import Pool
from closedloop.kpi import state_store as store
from closedloop.kpi import statement_store
from closedloop.kpi.domain.backtest import Backtest, Breach, Levels, over_periods, overlapping, paired, period_ends
from closedloop.kpi.domain.catalogue import EventIndicator, Indicator
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.period_amounts import period_amounts
from closedloop.kpi.statements import Totals
from closedloop.kpi.value import REGION
from closedloop.kpi.values import Values


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules would have raised, and what was really stated in that time."""

    raised: list[Breach]
    stated: list[Breach]


Rule: TypeAlias = Threshold | Control | Levels


class Backtests:
    """One at a time in this process: a year of buckets takes its while."""

    def __init__(self, pool: Pool, buckets: Totals, values: Values, zone: ZoneInfo) -> None:
        self._pool = pool
        self._buckets = buckets
        self._values = values
        self._zone = zone
        self._one = asyncio.Semaphore(1)

    async def run(
        self, indicator: Indicator, rules: Sequence[Rule], since: int, until: int, regions: Sequence[str] | None
    ) -> Outcome:
        """`raised` and, beside it, what was stated."""
        raised = await self.raised(indicator, rules, since, until, regions)
        return Outcome(raised, await self._stated(indicator.id, since, until, regions))

    async def raised(
        self, indicator: Indicator, rules: Sequence[Rule], since: int, until: int, regions: Sequence[str] | None = None
    ) -> list[Breach]:
        """Over the minutes in (since, until]; `regions`: the token's, None for all. Thresholds and charts are only for what is
        computed from events. Raises TooManySeries, TooManyPoints."""
        found: list[Breach] = []
        async with self._one:
            for rule in rules:
                if isinstance(rule, Levels):
                    found += await self._by_periods(indicator, rule, since, until, regions)
                elif isinstance(indicator, EventIndicator):
                    found += await self._by_minutes(indicator, rule, since, until, regions)
        return sorted(found, key=lambda breach: (breach.begin, breach.series))

    async def _by_minutes(
        self, indicator: EventIndicator, rule: Threshold | Control, since: int, until: int, regions: Sequence[str] | None
    ) -> list[Breach]:
        test = Backtest(indicator, rule, self._zone, since, until)
        for round_ in test.rounds:
            totals = await self._buckets.totals(indicator, rule.by, round_.reads_from, round_.reads_to)
            if regions is not None:
                totals = totals.filter(totals[REGION].is_in(list(regions)))
            await asyncio.to_thread(test.take, round_, totals)
        return test.breaches()

    async def _by_periods(
        self, indicator: Indicator, levels: Levels, since: int, until: int, regions: Sequence[str] | None
    ) -> list[Breach]:
        ends = period_ends(indicator, self._zone, since, until)
        amounts = await period_amounts(self._values, indicator, ends) if ends else {}
        if regions is not None:
            amounts = {group: figures for group, figures in amounts.items() if dict(group).get(REGION) in regions}
        return await asyncio.to_thread(over_periods, indicator, levels, self._zone, ends, amounts)

    async def _stated(self, indicator_id: str, since: int, until: int, regions: Sequence[str] | None) -> list[Breach]:
        rows = await store.read_statements(self._pool, indicator_id, regions, minute_at(until))
        return overlapping(paired(map(statement_store.statement_from, rows)), since, until)
