"""What makes a customer's dissatisfaction known."""

import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from closedloop.common.events.model import AnyEvent, ComplaintClosed, CustomerClass, EvaluationSubmitted
from closedloop.common.events.rules import is_dissatisfied
from closedloop.recovery.domain.segments import SignalKind

_NAMESPACE: Final = uuid.UUID("6b0f6a52-3d0e-5a8c-9a55-2b6f6a1d7e10")


@dataclass(frozen=True, slots=True)
class Signal:
    """One dissatisfied statement of one customer. `at` is its event time."""

    source: str
    event_id: str
    at: datetime
    kind: SignalKind
    customer_id: str
    region: str
    customer_class: CustomerClass | None
    product: str | None
    process: str | None
    channel: str | None
    phone: str | None
    score: float | None
    reason: str | None
    comment: str | None
    complaint_id: str | None
    order_id: str | None
    contact_id: str | None
    campaign_id: str | None
    event: AnyEvent = field(repr=False, compare=False)

    def is_late(self, now: datetime, late_after: timedelta) -> bool:
        """Too old on arrival to be called about: kept for analysis, not queued."""
        return now - self.at > late_after


def signal_of(event: AnyEvent, at: datetime, threshold: float) -> Signal | None:
    """The signal in an event, or None where it does not say that the customer is dissatisfied."""
    if isinstance(event, EvaluationSubmitted):
        if not is_dissatisfied(event.data, threshold):
            return None
        kind: SignalKind = event.data.kind
    elif isinstance(event, ComplaintClosed):
        if event.data.satisfied is not False:
            return None
        kind = "complaint_closed"
    else:
        return None
    data = event.data
    score = reason = comment = order_id = contact_id = campaign_id = None
    complaint_id = data.complaint_id
    if isinstance(event, EvaluationSubmitted):
        rating = event.data
        score, reason, comment = rating.score, rating.reason, rating.comment
        order_id, contact_id, campaign_id = rating.order_id, rating.contact_id, rating.campaign_id
    else:
        comment = event.data.resolution
    return Signal(
        source=event.source,
        event_id=event.id,
        at=at,
        kind=kind,
        customer_id=data.customer_id,
        region=data.region,
        customer_class=data.customer_class,
        product=data.product,
        process=data.process,
        channel=data.channel,
        phone=data.phone,
        score=score,
        reason=reason,
        comment=comment,
        complaint_id=complaint_id,
        order_id=order_id,
        contact_id=contact_id,
        campaign_id=campaign_id,
        event=event,
    )


def recovery_id_of(first: Signal) -> uuid.UUID:
    """A recovery's id derives from the signal that opened it: what is said about it after a crash has the same id again."""
    return uuid.uuid5(_NAMESPACE, json.dumps((first.source, first.event_id)))
