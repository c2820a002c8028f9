"""What this service reads, and what it makes of a batch: complaints are counted, escalations and breaches become tickets."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from closedloop.common.consumer import inbox
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.rows import Received, RowProcessor, Subscription, rejection_of
from closedloop.common.events.model import (
    ComplaintEscalated,
    ComplaintRegistered,
    EnquiryRegistered,
    IndicatorBreached,
    IndicatorRecovered,
)
from closedloop.common.events.rules import Refused
from closedloop.common.postgres.pool import Connection
from closedloop.ticketing import filing, metrics
from closedloop.ticketing.domain import told
from closedloop.ticketing.domain.firing import TriggerFiring
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import complaints, tickets
from closedloop.ticketing.store.complaints import Complaint

SUBSCRIPTION: Final = Subscription(
    (ComplaintRegistered, ComplaintEscalated, EnquiryRegistered, IndicatorBreached, IndicatorRecovered)
)
Escalated = tuple[ComplaintEscalated, datetime]


class Intake:
    """One batch is one transaction, the consumer loop's."""

    def __init__(self, settings: TicketingSettings) -> None:
        self._settings = settings

    async def take(self, connection: Connection, received: Sequence[Received]) -> Sequence[Rejection]:
        """Each event has its effect once; nothing is too late (see README)."""
        breaches, rejections = _breaches(received)
        refused = {id(rejection.record) for rejection in rejections}
        wanted = [one for one in received if id(one.record) not in refused]
        taken = await inbox.take(connection, wanted, await tickets.now(connection))
        metrics.DUPLICATES.labels("same").inc(taken.same)
        metrics.DUPLICATES.labels("other").inc(taken.other)

        counted: list[Complaint] = []
        escalated: list[Escalated] = []
        firings: list[TriggerFiring] = []
        recovered: list[tuple[IndicatorRecovered, datetime]] = []
        for one in taken.new:
            event = one.event
            if type(event) is ComplaintRegistered or type(event) is EnquiryRegistered:
                counted.append(_complaint(event, one.at))
            elif type(event) is ComplaintEscalated:
                escalated.append((event, one.at))
            elif id(one) in breaches:
                firings.append(breaches[id(one)])
            elif type(event) is IndicatorRecovered:
                recovered.append((event, one.at))

        untracked = await complaints.count(connection, counted, self._settings.max_subjects, self._settings.settle_s)
        metrics.UNTRACKED.inc(untracked)
        await filing.file(connection, [*firings, *await _escalations(connection, escalated)])
        for event, at in recovered:
            await _note_recovery(connection, event, at)
        return rejections


def _breaches(received: Sequence[Received]) -> tuple[dict[int, TriggerFiring], list[Rejection]]:
    """What opens tickets: a warning is for the indicator's owner, and does not."""
    firings: dict[int, TriggerFiring] = {}
    rejections: list[Rejection] = []
    for one in received:
        if type(one.event) is IndicatorBreached and one.event.data.level != "warning":
            try:
                firings[id(one)] = told.breach(one.event)
            except Refused as refused:
                rejections.append(rejection_of(one.record, refused))
    return firings, rejections


def _complaint(event: ComplaintRegistered | EnquiryRegistered, at: datetime) -> Complaint:
    data = event.data
    if type(event) is EnquiryRegistered:
        kind, id = complaints.ENQUIRY, event.data.enquiry_id
    else:
        assert type(event) is ComplaintRegistered  # noqa: S101 (for the type checker)
        kind, id = complaints.COMPLAINT, event.data.complaint_id
    return Complaint(kind, data.topic_path, data.customer_id, at, event.source, event.id, id, data.region)


async def _escalations(connection: Connection, escalated: Sequence[Escalated]) -> list[TriggerFiring]:
    without = [event.data.complaint_id for event, _ in escalated if event.data.topic_path is None]
    topics = await complaints.topics_of(connection, without) if without else {}
    return [told.escalation(event, at, topics.get(event.data.complaint_id)) for event, at in escalated]


async def _note_recovery(connection: Connection, event: IndicatorRecovered, at: datetime) -> None:
    """Whoever evaluates should see that the indicator came back; the ticket stays open until they have."""
    ticket = await tickets.lock_open(connection, told.cause_of(event.data).name)
    if ticket is not None:
        await tickets.add_history(connection, ticket.id, [told.recovery(event, ticket, at)])


def processor(intake: Intake, wake: Callable[[], None]) -> RowProcessor:
    """For the consumer loop."""
    return RowProcessor(SUBSCRIPTION, intake.take, wake)
