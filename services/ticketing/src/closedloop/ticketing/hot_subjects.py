"""The hot trigger over many subjects, of complaints and of enquiries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from closedloop.common.postgres.pool import Connection
from closedloop.ticketing.domain import cause, hot
from closedloop.ticketing.domain.bins import BINS_PER_DAY, bin_of, bin_start
from closedloop.ticketing.domain.firing import Trigger, TriggerFiring, window_key
from closedloop.ticketing.domain.hot import HOT_WINDOW, MINUTE, HotMinute
from closedloop.ticketing.domain.priority import urgency_of_excess
from closedloop.ticketing.domain.record import Sparse
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import complaints, subjects
from closedloop.ticketing.store.subjects import Subject


@dataclass(frozen=True)
class HotStatements:
    """Per subject's id its firings, earliest first, and up to where all is stated."""

    found: Mapping[int, Sequence[TriggerFiring]]
    until: Mapping[int, datetime]

    @property
    def firings(self) -> list[TriggerFiring]:
        """All of them."""
        return [firing for firings in self.found.values() for firing in firings]

    def fired_at(self) -> dict[int, datetime]:
        """The last firing of each subject that fired."""
        return {subject: firings[-1].at for subject, firings in self.found.items() if firings}


async def state(connection: Connection, due: Sequence[Subject], minute: datetime, settings: TicketingSettings) -> HotStatements:
    """What the hot trigger says about these subjects at all minutes up to `minute`; nothing is written."""
    if not due:
        return HotStatements({}, {})
    after = {s.id: s.hot_until or hot.minute_after(s.first_at) - MINUTE for s in due}
    until = {s.id: min(minute, hot.minute_after(s.last_at)) for s in due}
    first, stop = bin_of(min(after.values()) - HOT_WINDOW), bin_of(max(until.values())) + 1
    bins = await subjects.bins(connection, [s.id for s in due], first, stop)
    found = {}
    for s in due:
        threshold = settings.hot_enquirers if s.kind == "enquiry" else settings.hot_customers
        minutes = await _hot_minutes(connection, s, bins[s.id].complaints, threshold, after[s.id], until[s.id])
        found[s.id] = [await _firing(connection, s, at, threshold, settings.evidence_complaints) for at in minutes]
    return HotStatements(found, until)


async def _hot_minutes(
    connection: Connection, subject: Subject, all_complaints: Sparse, threshold: int, after: datetime, until: datetime
) -> list[HotMinute]:
    found: list[HotMinute] = []
    if subject.hot_fired_at is not None:
        after = max(after, subject.hot_fired_at + hot.SILENCE - MINUTE)
    while (busy := _next_busy(all_complaints, threshold, after, until)) is not None:
        upto = min(until, busy + HOT_WINDOW)
        known = await subjects.customers_between(connection, subject.id, busy - HOT_WINDOW, upto)
        minute = hot.first_hot_minute(known, threshold, after=busy, until=upto)
        if minute is None:
            after = upto
        else:
            found.append(minute)
            after = minute.at + hot.SILENCE - MINUTE
    return found


def _next_busy(all_complaints: Sparse, threshold: int, after: datetime, until: datetime) -> datetime | None:
    """A time from `after` on up to which no later minute can be hot, as too few complaints came at all; None: none until `until`.

    Whole bins are summed, a day's and those that it only touches: never too few. Most subjects are never looked at closer."""
    if after >= until or not len(all_complaints.numbers):
        return None
    upto = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(all_complaints.counts)))
    begins = np.searchsorted(all_complaints.numbers, all_complaints.numbers - BINS_PER_DAY)
    busy = all_complaints.numbers[(upto[1:] - upto[begins] >= threshold) & (all_complaints.numbers >= bin_of(after))]
    if not len(busy) or (begin := bin_start(int(busy[0]))) >= until:
        return None
    return max(begin, after)


async def _firing(connection: Connection, subject: Subject, found: HotMinute, threshold: int, listed: int) -> TriggerFiring:
    start = found.at - HOT_WINDOW
    trigger: Trigger = "hot_enquiries" if subject.kind == "enquiry" else "hot"
    what = "enquiries" if subject.kind == "enquiry" else "complaints"
    return TriggerFiring(
        trigger=trigger,
        cause=cause.of_topic(subject.topic_path),
        key=window_key(start, found.at),
        at=found.at,
        title=f"Hot subject: {subject.topic_path}, {what} of {found.customers} customers in 24 h",
        urgency=urgency_of_excess(found.customers, threshold),
        customers=found.customers,
        evidence=await complaints.evidence(connection, subject.id, start, found.at, listed),
        window_start=start,
        window_end=found.at,
        expected=threshold,
        observed=found.customers,
    )
