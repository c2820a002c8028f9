"""Firings become tickets, or evidence of the open one. Every trigger comes through here."""

from collections import defaultdict
from collections.abc import Sequence

from closedloop.common.events.model import AnyEvent, TicketClosed, TicketData, TicketOpened, TicketStageChanged
from closedloop.common.outbox.store import Outgoing, own_event, put
from closedloop.common.postgres.pool import Connection
from closedloop.ticketing import metrics
from closedloop.ticketing.domain.firing import TriggerFiring
from closedloop.ticketing.domain.ticket import Change, Entry, Ticket, attach, open_by
from closedloop.ticketing.store import tickets

SOURCE = "/closedloop/ticketing"


async def file(connection: Connection, firings: Sequence[TriggerFiring]) -> None:
    """In the open transaction: firings that were stated before change nothing; the others open a ticket on their cause or are
    added to the open one. Causes are locked in one order, so that two triggers at once wait for each other and make one ticket."""
    if not firings:
        return
    unique = {firing.id: firing for firing in firings}
    known = await tickets.known_firings(connection, list(unique))
    by_cause: dict[str, list[TriggerFiring]] = defaultdict(list)
    for id, firing in unique.items():
        if id not in known:
            by_cause[firing.cause.name].append(firing)
    for cause in sorted(by_cause):
        await _file_on(connection, cause, sorted(by_cause[cause], key=lambda f: (f.at, f.trigger, f.key)))


async def _file_on(connection: Connection, cause: str, firings: list[TriggerFiring]) -> None:
    ticket = await tickets.lock_open(connection, cause)
    while ticket is None:
        change = open_by(firings[0])
        if await open_ticket(connection, change, firings[0].told_by):
            ticket = change.ticket
            continue
        # Somebody else opened one at this moment (and it may be closed again), perhaps by the same firings.
        known = await tickets.known_firings(connection, [firing.id for firing in firings])
        firings = [firing for firing in firings if firing.id not in known]
        if not firings:
            return
        ticket = await tickets.lock_open(connection, cause)
    grown = ticket
    for firing in firings:
        grown = attach(grown, firing)
        metrics.FIRINGS.labels(firing.trigger).inc()
    if grown != ticket:
        await tickets.update(connection, grown)
    await tickets.add_firings(connection, ticket.id, firings)


async def open_ticket(connection: Connection, change: Change, told_by: AnyEvent | None = None) -> bool:
    """Write a new ticket and say so. False where its cause has an open one."""
    if not await tickets.insert(connection, change.ticket):
        return False
    metrics.TICKETS_OPENED.labels(change.ticket.trigger).inc()
    await _record(connection, change, told_by)
    return True


async def save(connection: Connection, change: Change) -> None:
    """Write a changed ticket, which this transaction has locked, and say so."""
    await tickets.update(connection, change.ticket)
    await _record(connection, change)


async def _record(connection: Connection, change: Change, told_by: AnyEvent | None = None) -> None:
    await tickets.add_history(connection, change.ticket.id, change.entries)
    await put(connection, [said for entry in change.entries if (said := _said(change.ticket, entry, told_by))])


def _said(ticket: Ticket, entry: Entry, told_by: AnyEvent | None) -> Outgoing | None:
    if entry.from_stage == entry.to_stage:
        return None
    kind = TicketOpened if entry.from_stage is None else TicketClosed if entry.to_stage == "closed" else TicketStageChanged
    key = str(ticket.id)
    data = TicketData(
        ticket_id=key,
        stage=entry.to_stage,
        cause=ticket.cause,
        trigger=ticket.trigger,
        regions=list(ticket.regions),
        priority=ticket.priority,
        from_stage=entry.from_stage,
        topic_path=ticket.topic_path,
        indicator_id=ticket.indicator_id,
        outcome=ticket.outcome if entry.to_stage == "closed" else None,
        actor=entry.actor.subject,
    )
    event = own_event(
        kind, id=f"{key}:{entry.version}", source=SOURCE, at=entry.at, subject=key, sequence=entry.version, data=data, cause=told_by
    )
    return Outgoing(key, event)
