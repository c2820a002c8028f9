"""The language: every event type of contract version 1, as the CloudEvents envelope with its typed `data`.

Field names, closed lists and required fields are the public contract (README, "Events"). Unknown fields are ignored.
`None` stands for an absent field. `time` is kept as the RFC 3339 text that the producer sent: `rules.parse_time` turns it into
an aware datetime, and a columnar reader may parse a million of them at once.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

Level: TypeAlias = Literal["warning", "critical"]
CustomerClass: TypeAlias = Literal["diamond", "gold", "silver", "regular"]
EvaluationKind: TypeAlias = Literal["survey", "sms_rating", "complaint_followup"]
OrderStatus: TypeAlias = Literal["submitted", "accepted", "in_progress", "waiting", "completed", "failed", "cancelled"]


class CustomerData(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What the data of every input event may say about the customer and the place."""

    customer_id: str
    region: str
    customer_class: CustomerClass | None = None
    product: str | None = None
    process: str | None = None
    channel: str | None = None
    phone: str | None = None


class EvaluationData(CustomerData, frozen=True, gc=False, kw_only=True):
    kind: EvaluationKind
    score: float | None = None
    satisfied: bool | None = None
    scale_min: float | None = None
    scale_max: float | None = None
    reason: str | None = None
    comment: str | None = None
    contact_id: str | None = None
    agent_id: str | None = None
    order_id: str | None = None
    complaint_id: str | None = None
    campaign_id: str | None = None


class ComplaintRegisteredData(CustomerData, frozen=True, gc=False, kw_only=True):
    complaint_id: str
    topic_path: str
    text: str | None = None
    severity: int | None = None
    order_id: str | None = None
    campaign_id: str | None = None


class ComplaintEscalatedData(CustomerData, frozen=True, gc=False, kw_only=True):
    complaint_id: str
    topic_path: str | None = None
    level: str | int | None = None
    reason: str | None = None


class ComplaintClosedData(CustomerData, frozen=True, gc=False, kw_only=True):
    complaint_id: str
    topic_path: str | None = None
    resolution: str | None = None
    satisfied: bool | None = None


class EnquiryRegisteredData(CustomerData, frozen=True, gc=False, kw_only=True):
    enquiry_id: str
    topic_path: str
    text: str | None = None


class OrderStatusChangedData(CustomerData, frozen=True, gc=False, kw_only=True):
    order_id: str
    order_type: str
    status: OrderStatus
    step: str | None = None
    reason: str | None = None
    first_try: bool | None = None
    duration_s: float | None = None
    expected_by: str | None = None


class IndicatorBreachData(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A statement about one indicator and one group of its dimensions; `window` is its code, the ends are RFC 3339 in UTC.

    `level`: the one at which it stands from then on. Absent: critical in a breach, none in a recovery; a recovery with
    `warning` came back from critical that far. `rule`: the control chart's that was broken; `threshold` is then its limit.
    `series_url`: the path at kpi that shows the values around it.
    """

    indicator_id: str
    dimensions: dict[str, str]
    window: str
    window_start: str
    window_end: str
    value: float | None = None
    threshold: float
    better: Literal["higher", "lower"]
    numerator: float
    denominator: float
    sample: int
    owner: str
    region: str | None = None
    level: Level | None = None
    rule: str | None = None
    target: float | None = None
    series_url: str | None = None


class IndicatorEscalationData(IndicatorBreachData, frozen=True, gc=False, kw_only=True):
    """A breach that nobody has acknowledged: which (the id of its event), for how long by the clock, and how often it was said
    so."""

    breach_id: str
    minutes: int
    escalation: int


class TicketData(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    ticket_id: str
    stage: str
    cause: str
    trigger: str
    regions: list[str]
    priority: int
    from_stage: str | None = None
    topic_path: str | None = None
    indicator_id: str | None = None
    outcome: str | None = None
    actor: str | None = None


class RecoveryData(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    recovery_id: str
    customer_id: str
    region: str
    deadline: str
    segment: str
    customer_class: CustomerClass | None = None
    product: str | None = None
    process: str | None = None
    channel: str | None = None
    reached: bool | None = None
    result: str | None = None
    reason: str | None = None
    attempt: int | None = None
    seconds_to_first_contact: float | None = None
    agent_id: str | None = None


class Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", omit_defaults=True):
    """CloudEvents 1.0 attributes; one subclass per event type carries the typed `data`."""

    specversion: Literal["1.0"]
    id: str
    source: str
    time: str
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    sequence: str | None = None

    @property
    def type(self) -> str:
        """The event type's name, as on the wire."""
        return str(self.__struct_config__.tag)


class EvaluationSubmitted(Event, frozen=True, gc=False, kw_only=True, tag="evaluation.submitted.v1"):
    data: EvaluationData


class ComplaintRegistered(Event, frozen=True, gc=False, kw_only=True, tag="complaint.registered.v1"):
    data: ComplaintRegisteredData


class ComplaintEscalated(Event, frozen=True, gc=False, kw_only=True, tag="complaint.escalated.v1"):
    data: ComplaintEscalatedData


class ComplaintClosed(Event, frozen=True, gc=False, kw_only=True, tag="complaint.closed.v1"):
    data: ComplaintClosedData


class EnquiryRegistered(Event, frozen=True, gc=False, kw_only=True, tag="enquiry.registered.v1"):
    data: EnquiryRegisteredData


class OrderStatusChanged(Event, frozen=True, gc=False, kw_only=True, tag="order.status_changed.v1"):
    data: OrderStatusChangedData


class IndicatorBreached(Event, frozen=True, gc=False, kw_only=True, tag="indicator.breached.v1"):
    data: IndicatorBreachData


class IndicatorRecovered(Event, frozen=True, gc=False, kw_only=True, tag="indicator.recovered.v1"):
    data: IndicatorBreachData


class IndicatorEscalated(Event, frozen=True, gc=False, kw_only=True, tag="indicator.escalated.v1"):
    data: IndicatorEscalationData


class TicketOpened(Event, frozen=True, gc=False, kw_only=True, tag="ticket.opened.v1"):
    data: TicketData


class TicketStageChanged(Event, frozen=True, gc=False, kw_only=True, tag="ticket.stage_changed.v1"):
    data: TicketData


class TicketClosed(Event, frozen=True, gc=False, kw_only=True, tag="ticket.closed.v1"):
    data: TicketData


class RecoveryQueued(Event, frozen=True, gc=False, kw_only=True, tag="recovery.queued.v1"):
    data: RecoveryData


class RecoveryContacted(Event, frozen=True, gc=False, kw_only=True, tag="recovery.contacted.v1"):
    data: RecoveryData


class RecoveryClosed(Event, frozen=True, gc=False, kw_only=True, tag="recovery.closed.v1"):
    data: RecoveryData


InputEvent: TypeAlias = (
    EvaluationSubmitted | ComplaintRegistered | ComplaintEscalated | ComplaintClosed | EnquiryRegistered | OrderStatusChanged
)
OwnEvent: TypeAlias = (
    IndicatorBreached
    | IndicatorRecovered
    | IndicatorEscalated
    | TicketOpened
    | TicketStageChanged
    | TicketClosed
    | RecoveryQueued
    | RecoveryContacted
    | RecoveryClosed
)
AnyEvent: TypeAlias = InputEvent | OwnEvent
