"""What this service reads, and what it makes of a batch: complaints are counted, escalations and breaches become tickets."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.rows import Received, RowProcessor, Subscription, rejection_of
from closedloop.common.events.model import (
    ComplaintEscalated,
    ComplaintRegistered,
    EnquiryRegistered,
    EnquiryRegisteredData,
    IndicatorBreached,
    IndicatorRecovered,
)
from closedloop.common.events.rules import Refused
from closedloop.common.postgres.pool import Connection
from closedloop.ticketing import filing, metrics
from closedloop.ticketing.domain import told
from closedloop.ticketing.domain.firing import TriggerFiring
from closedloop.ticketing.settings import TicketingSettings
from closedloop.ticketing.store import complaints, inbox, tickets
from closedloop.ticketing.store.complaints import Complaint

SUBSCRIPTION: Final = Subscription(
    (ComplaintRegistered, ComplaintEscalated, EnquiryRegistered, IndicatorBreached, IndicatorRecovered)
)


class Intake:
    """One batch is one transaction, the consumer loop's."""

    def __init__(self, settings: TicketingSettings) -> None:
        self._settings = settings

    async def take(self, connection: Connection, received: Sequence[Received]) -> Sequence[Rejection]:
        """Each event has its effect once; nothing is too late (see README)."""
        breaches, rejections = _breaches(received)
        refused = {id(rejection.record) for rejection in rejections}
        new = await inbox.take(connection, [one for one in received if id(one.record) not in refused])
        counted = [_complaint(one, one.event) for one in new if isinstance(one.event, ComplaintRegistered | EnquiryRegistered)]
        untracked = await complaints.count(connection, counted, self._settings.max_subjects, self._settings.settle_s)
        metrics.UNTRACKED.inc(untracked)
        firings = await self._escalations(connection, new)
        firings += [breaches[id(one)] for one in new if id(one) in breaches]
        await filing.file(connection, firings)
        for one in new:
            if isinstance(one.event, IndicatorRecovered):
                await self._note_recovery(connection, one.event, one.at)
        return rejections

    async def _escalations(self, connection: Connection, new: Sequence[Received]) -> list[TriggerFiring]:
        escalated = [(one, one.event) for one in new if isinstance(one.event, ComplaintEscalated)]
        without = [event.data.complaint_id for _, event in escalated if event.data.topic_path is None]
        topics = await complaints.topics_of(connection, without) if without else {}
        return [told.escalation(event, one.at, topics.get(event.data.complaint_id)) for one, event in escalated]

    async def _note_recovery(self, connection: Connection, event: IndicatorRecovered, at: datetime) -> None:
        """Whoever evaluates should see that the indicator came back; the ticket stays open until they have."""
        ticket = await tickets.lock_open(connection, told.cause_of(event.data).name)
        if ticket is not None:
            await tickets.add_history(connection, ticket.id, [told.recovery(event, ticket, at)])


def _breaches(received: Sequence[Received]) -> tuple[dict[int, TriggerFiring], list[Rejection]]:
    firings: dict[int, TriggerFiring] = {}
    rejections: list[Rejection] = []
    for one in received:
        if isinstance(one.event, IndicatorBreached):
            try:
                firings[id(one)] = told.breach(one.event)
            except Refused as refused:
                rejections.append(rejection_of(one.record, refused))
    return firings, rejections


def _complaint(one: Received, event: ComplaintRegistered | EnquiryRegistered) -> Complaint:
    data = event.data
    return Complaint(
        kind="enquiry" if isinstance(data, EnquiryRegisteredData) else "complaint",
        topic_path=data.topic_path,
        customer_id=data.customer_id,
        at=one.at,
        source=event.source,
        event_id=event.id,
        complaint_id=data.enquiry_id if isinstance(data, EnquiryRegisteredData) else data.complaint_id,
        region=data.region,
    )


def processor(intake: Intake, wake: Callable[[], None]) -> RowProcessor:
    """For the consumer loop."""
    return RowProcessor(SUBSCRIPTION, intake.take, wake)
