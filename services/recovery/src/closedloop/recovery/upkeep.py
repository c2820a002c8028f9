"""What time moves and ends, and the figures that are shown about the queue."""

import time
from datetime import timedelta
from typing import Final

from closedloop.common.consumer import inbox
from closedloop.common.http.preconditions import forget_keys
from closedloop.common.postgres.pool import Pool
from closedloop.recovery import metrics
from closedloop.recovery.domain.rules import Kept
from closedloop.recovery.store import upkeep as store
from closedloop.recovery.store.clock import Clock

SOON: Final = timedelta(minutes=30)
OTHER_REGIONS: Final = "other"
SHARE_OF_TIME: Final = 0.05
ROWS_AT_ONCE: Final = 10_000
RECOVERIES_AT_ONCE: Final = 1_000
"""Each takes some ten rows with it."""


class Upkeep:
    """Jobs. Several processes may run them at once: rows that another has locked are left to it."""

    def __init__(self, pool: Pool, clock: Clock, kept: Kept, max_region_labels: int) -> None:
        self._pool = pool
        self._clock = clock
        self._kept = kept
        self._max_region_labels = max_region_labels
        self._measure_from = 0.0

    async def tend(self) -> None:
        """Give back claims that ran out, end reservations that did, queue again what has come due."""
        now = await self._clock(self._pool)
        expired = await store.expire_leases(self._pool, now)
        metrics.EXPIRIES.inc(expired)
        async with self._pool.acquire() as connection, connection.transaction():
            await store.expire_reservations(connection, now)
        await store.requeue(self._pool, now)

    async def forget(self) -> None:
        """Drop what is past its retention, some rows a transaction."""
        now = await self._clock(self._pool)
        await forget_keys(self._pool, now)
        for forget, kept, at_once in (
            (inbox.forget, self._kept.inbox, ROWS_AT_ONCE),
            (store.forget_recoveries, self._kept.closed, RECOVERIES_AT_ONCE),
            (store.forget_contacts, self._kept.closed, ROWS_AT_ONCE),
            (store.forget_late_signals, self._kept.closed, ROWS_AT_ONCE),
        ):
            while await forget(self._pool, now - kept, at_once) == at_once:
                pass

    async def measure(self) -> None:
        """Refresh the gauges; with a huge queue less often, so that counting takes at most a twentieth of the time."""
        started = time.monotonic()
        if started < self._measure_from:
            return
        self._show(await store.figures(self._pool, SOON))
        self._measure_from = started + (time.monotonic() - started) / SHARE_OF_TIME

    def _show(self, figures: store.Figures) -> None:
        # no await in here: a scrape sees all of it or nothing
        waiting = {row["region"]: int(row["n"]) for row in figures.waiting}
        soon = {row["region"]: int(row["soon"]) for row in figures.unmet}
        overdue = {row["region"]: int(row["overdue"]) for row in figures.unmet}
        named = self._named(waiting, soon, overdue)
        for gauge, counts in ((metrics.WAITING, waiting), (metrics.DUE_SOON, soon), (metrics.OVERDUE, overdue)):
            gauge.clear()
            sums = dict.fromkeys((*named, OTHER_REGIONS), 0)
            for region, n in counts.items():
                sums[region if region in named else OTHER_REGIONS] += n
            for region, n in sums.items():
                gauge.labels(region).set(n)
        oldest = min((row["oldest"] for row in figures.waiting), default=figures.now)
        metrics.OLDEST.set(max(0.0, (figures.now - oldest).total_seconds()))
        by_status = {row["status"]: int(row["n"]) for row in figures.others}
        metrics.CLAIMED.set(by_status.get("claimed", 0))
        metrics.DEFERRED.set(by_status.get("deferred", 0))

    def _named(self, *counts: dict[str, int]) -> frozenset[str]:
        """The regions with a label of their own: those with most in them."""
        weight: dict[str, int] = {}
        for count in counts:
            for region, n in count.items():
                weight[region] = weight.get(region, 0) + n
        ranked = sorted(weight, key=lambda region: (-weight[region], region))
        return frozenset(ranked[: self._max_region_labels])
