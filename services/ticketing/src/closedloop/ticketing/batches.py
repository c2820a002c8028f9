"""The batch trigger over many subjects: loads their bins, asks the domain, gathers the evidence."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from closedloop.common.postgres.pool import Connection
from closedloop.ticketing.domain import cause, record
from closedloop.ticketing.domain.bins import bin_of, bin_start
from closedloop.ticketing.domain.burst import Firing
from closedloop.ticketing.domain.firing import TriggerFiring, window_key
from closedloop.ticketing.domain.priority import urgency_of_excess
from closedloop.ticketing.domain.record import Record
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import complaints, subjects
from closedloop.ticketing.store.subjects import Subject


@dataclass(frozen=True)
class BatchStatements:
    """The firings, and per subject's id up to where all is stated."""

    firings: Sequence[TriggerFiring]
    until: Mapping[int, datetime]


class EveryoneLoader:
    """All subjects' bins together, loaded once for a run over many subjects: their sum is dearer than any one of them."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._loaded: tuple[int, int, Record] | None = None

    async def load(self, connection: Connection, first: int, stop: int) -> Record:
        """Everyone in the bins of [first, stop), or more."""
        if self._loaded is not None and self._loaded[0] <= first and stop <= self._loaded[1]:
            return self._loaded[2]
        if self._loaded is not None:
            first, stop = min(first, self._loaded[0]), max(stop, self._loaded[1])
        together = Record(await subjects.everyone(connection, first, stop), self.zone, stop)
        self._loaded = first, stop, together
        return together


async def state(
    connection: Connection, due: Sequence[Subject], step: datetime, everyone: EveryoneLoader, settings: TicketingSettings
) -> BatchStatements:
    """What the batch trigger says about these subjects at all steps up to `step`; nothing is written."""
    if not due:
        return BatchStatements([], {})
    after = {s.id: _after(s) for s in due}
    until = {s.id: min(step, bin_start(record.last_step(s.last_at))) for s in due}
    first, stop = bin_of(record.load_from(min(after.values()), everyone.zone)), bin_of(max(until.values())) + 1
    together = await everyone.load(connection, first, stop)
    bins = await subjects.bins(connection, [s.id for s in due], first, stop)
    earlier = await subjects.batch_firings(connection, [s.topic_path for s in due], bin_start(first))

    def evaluate() -> list[tuple[Subject, Firing]]:
        return [
            (s, firing)
            for s in due
            for firing in record.burst_firings(
                bins[s.id].customers,
                together,
                settings.burst,
                after=after[s.id],
                until=until[s.id],
                earlier=earlier[s.topic_path],
            )
        ]

    # months of many subjects may take a second: not on the event loop
    found = await asyncio.to_thread(evaluate)
    return BatchStatements([await _firing(connection, s, f, settings.evidence_complaints) for s, f in found], until)


def _after(subject: Subject) -> datetime:
    """Nothing is stated about later steps, and none of them up to here can fire: it may be years after the last one stated."""
    active = bin_of(subject.first_at) if subject.active_from is None else subject.active_from
    return max(subject.batch_until or bin_start(active), bin_start(active))


async def _firing(connection: Connection, subject: Subject, firing: Firing, listed: int) -> TriggerFiring:
    window = f"{firing.window.total_seconds() / 3600:g} h"
    return TriggerFiring(
        trigger="batch",
        cause=cause.of_topic(subject.topic_path),
        key=window_key(firing.window_start, firing.window_end),
        at=firing.window_end,
        title=f"Batch of complaints: {subject.topic_path}, {firing.observed} customers in {window}, {firing.expected:.1f} expected",
        urgency=urgency_of_excess(firing.observed, firing.expected),
        customers=firing.observed,
        evidence=await complaints.evidence(connection, subject.id, firing.window_start, firing.window_end, listed),
        window_start=firing.window_start,
        window_end=firing.window_end,
        expected=firing.expected,
        observed=firing.observed,
        details={"p_value": firing.p_value, "window": window},
    )
