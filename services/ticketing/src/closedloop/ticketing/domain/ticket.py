"""A ticket and what may happen to it. Every change returns the new ticket and the lines of history that say it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from closedloop.ticketing.domain import stages
from closedloop.ticketing.domain.cause import Cause
from closedloop.ticketing.domain.firing import Trigger, TriggerFiring
from closedloop.ticketing.domain.priority import Difficulty, priority
from closedloop.ticketing.domain.stages import Move, Stage, Step, Verdict

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Actor:
    """Who did it: a person, and the client program that they used; or a service."""

    subject: str
    client: str


SYSTEM = Actor("closedloop-ticketing", "closedloop-ticketing")


@dataclass(frozen=True)
class Ticket:
    """One root-cause ticket. `regions` empty: it concerns the whole operator. Times are aware."""

    id: uuid.UUID
    cause: str
    topic_path: str | None
    indicator_id: str | None
    title: str
    trigger: Trigger
    stage: Stage
    round: int
    unit: str | None
    priority: int
    urgency: int
    difficulty: Difficulty | None
    customers: int
    regions: tuple[str, ...]
    analysis: Content | None
    improvement: Content | None
    evaluation: Content | None
    outcome: str | None
    opened_at: datetime
    opened_by: str
    improved_at: datetime | None
    closed_at: datetime | None
    version: int


@dataclass(frozen=True)
class Entry:
    """A line of history: version by version, who did what, when and why."""

    version: int
    at: datetime
    actor: Actor
    action: str
    from_stage: Stage | None
    to_stage: Stage
    reason: str | None = None
    content: Content | None = None


@dataclass(frozen=True)
class Change:
    """What a step makes of a ticket."""

    ticket: Ticket
    entries: tuple[Entry, ...]


def open_by(firing: TriggerFiring) -> Change:
    """The ticket that a firing opens; its id derives from the firing."""
    return opened(
        id=firing.id,
        cause=firing.cause,
        title=firing.title,
        trigger=firing.trigger,
        unit=firing.unit,
        urgency=firing.urgency,
        customers=firing.customers,
        regions=tuple(sorted(firing.evidence.regions)),
        at=firing.at,
        actor=SYSTEM,
        reason=firing.title,
    )


def opened(
    *,
    id: uuid.UUID,
    cause: Cause,
    title: str,
    trigger: Trigger,
    unit: str | None,
    urgency: int,
    customers: int,
    regions: tuple[str, ...],
    at: datetime,
    actor: Actor,
    reason: str,
) -> Change:
    """A new ticket in stage discover."""
    ticket = Ticket(
        id=id,
        cause=cause.name,
        topic_path=cause.topic_path,
        indicator_id=cause.indicator_id,
        title=title,
        trigger=trigger,
        stage="discover",
        round=1,
        unit=unit,
        priority=priority(urgency, customers, None),
        urgency=urgency,
        difficulty=None,
        customers=customers,
        regions=regions,
        analysis=None,
        improvement=None,
        evaluation=None,
        outcome=None,
        opened_at=at,
        opened_by=actor.subject,
        improved_at=None,
        closed_at=None,
        version=1,
    )
    return Change(ticket, (Entry(1, at, actor, "open", None, "discover", reason),))


def attach(ticket: Ticket, firing: TriggerFiring) -> Ticket:
    """The open ticket with a further firing: it reaches further, and may become more urgent. Its version stays: staff who are
    writing their analysis have read nothing that is wrong now."""
    urgency = max(ticket.urgency, firing.urgency)
    customers = max(ticket.customers, firing.customers)
    regions = tuple(sorted({*ticket.regions, *firing.evidence.regions})) if ticket.regions else ()
    return replace(
        ticket,
        urgency=urgency,
        customers=customers,
        regions=regions,
        priority=priority(urgency, customers, ticket.difficulty),
    )


def analysed(ticket: Ticket, content: Content, difficulty: Difficulty, actor: Actor, at: datetime) -> Change:
    """The root cause is found. Raises StepRefused."""
    found = replace(
        ticket, analysis=content, difficulty=difficulty, priority=priority(ticket.urgency, ticket.customers, difficulty)
    )
    return _moved(ticket, found, "analysis", stages.move(ticket.stage, "analysis"), actor, at, content=content)


def improved(ticket: Ticket, content: Content, carried_out: bool, actor: Actor, at: datetime) -> Change:
    """Measures are planned, or carried out. Raises StepRefused."""
    move = stages.move(ticket.stage, "improvement", carried_out=carried_out)
    planned = replace(ticket, improvement=content, improved_at=at if carried_out else None)
    return _moved(ticket, planned, "improvement", move, actor, at, content=content)


def evaluated(ticket: Ticket, content: Content, verdict: Verdict, actor: Actor, at: datetime) -> Change:
    """The effect is judged: the ticket closes, or goes round again with its pages empty. Raises StepRefused."""
    move = stages.move(ticket.stage, "evaluation", verdict=verdict)
    if move.next_round:
        again = replace(ticket, round=ticket.round + 1, analysis=None, improvement=None, evaluation=None, improved_at=None)
        return _moved(ticket, again, "evaluation", move, actor, at, reason="not effective", content=content)
    judged = replace(ticket, evaluation=content, outcome="effective")
    return _moved(ticket, judged, "evaluation", move, actor, at, content=content)


def returned(ticket: Ticket, reason: str, actor: Actor, at: datetime) -> Change:
    """Sent back one stage. Raises StepRefused."""
    return _moved(ticket, ticket, "return", stages.move(ticket.stage, "return"), actor, at, reason=reason)


def transferred(ticket: Ticket, unit: str, reason: str | None, actor: Actor, at: datetime) -> Change:
    """Given to another unit; from discover that dispatches it. Raises StepRefused."""
    move = stages.move(ticket.stage, "transfer")
    content = {"from_unit": ticket.unit, "to_unit": unit}
    return _moved(ticket, replace(ticket, unit=unit), "transfer", move, actor, at, reason=reason, content=content)


def closed(ticket: Ticket, outcome: str, reason: str, actor: Actor, at: datetime) -> Change:
    """Closed without going through its stages, such as a duplicate. Raises StepRefused."""
    move = stages.move(ticket.stage, "close")
    return _moved(ticket, replace(ticket, outcome=outcome), "close", move, actor, at, reason=reason, content={"outcome": outcome})


def _moved(
    before: Ticket,
    after: Ticket,
    step: Step,
    move: Move,
    actor: Actor,
    at: datetime,
    *,
    reason: str | None = None,
    content: Content | None = None,
) -> Change:
    entries: list[Entry] = []
    stage = before.stage
    for passed in move.path[:-1]:
        entries.append(Entry(before.version + len(entries) + 1, at, actor, "take_up", stage, passed))
        stage = passed
    entries.append(Entry(before.version + len(entries) + 1, at, actor, step, stage, move.to, reason, content))
    ticket = replace(after, stage=move.to, version=entries[-1].version, closed_at=at if move.to == "closed" else None)
    return Change(ticket, tuple(entries))
