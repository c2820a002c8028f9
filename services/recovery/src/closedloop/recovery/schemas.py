"""The bodies of recovery's routes."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from closedloop.recovery.domain.contacts import Reason, Result
from closedloop.recovery.domain.recovery import DeferredFor, Outcome, Status
from closedloop.recovery.domain.segments import Segment, SignalKind

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00]+$")]
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2100, 1, 1, tzinfo=UTC))]
ClaimNumber = Annotated[int, Field(ge=1, le=2**53, description="the fencing token that the claim answered")]


class Body(BaseModel):
    """What clients send: a misspelt field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class ClaimBody(Body):
    """Both may be left out: then anyone within the token's regions."""

    region: Code | None = None
    segment: Segment | None = None


class HeartbeatBody(Body):
    """The claim that goes on."""

    claim_number: ClaimNumber


class ReleaseBody(Body):
    """The claim that is given back."""

    claim_number: ClaimNumber
    why: Text | None = None


class ContactBody(Body):
    """One call. `claim_number` may be left out where the customer was not claimed, for example because he called himself."""

    claim_number: ClaimNumber | None = None
    contacted_at: Moment | None = Field(None, description="when the call took place; now if left out")
    reached: bool
    result: Result = Field(
        description="reached: resolved, not_resolved, declined, follow_up; else: no_answer, busy, switched_off, wrong_number"
    )
    reason: Reason | None = Field(None, description="of the dissatisfaction; needed with resolved and not_resolved")
    note: Text | None = Field(None, description="free text; needed with the reason `other`")
    next_attempt_at: Moment | None = Field(None, description="agreed time of the next call; by the default rule if left out")


class RevealBody(Body):
    """Why the number is needed."""

    why: Text


class ReservationBody(Body):
    """A contact with a customer that another service plans."""

    customer_id: Identifier
    region: Code
    purpose: Literal["survey", "campaign", "notice", "ticket", "other"]


class ConfirmBody(Body):
    """When the planned contact took place; now if left out."""

    contacted_at: Moment | None = None


class _Recovery(BaseModel):
    recovery_id: UUID
    customer_id: str
    region: str
    segment: Segment
    customer_class: str | None
    product: str | None
    process: str | None
    channel: str | None
    phone: str | None = Field(description="masked; see reveal-phone")
    dissatisfied_at: datetime = Field(description="event time of the earliest signal")
    deadline: datetime = Field(description="the promise: a first contact by then")
    due_at: datetime = Field(description="orders the queue: the deadline, after a first contact the next attempt's")
    attempts: int
    lease_until: datetime | None
    version: int


class Claim(_Recovery):
    """The customer to call. Heartbeat before `lease_until`, then record the contact."""

    lease_until: datetime
    claim_number: int


class Recovery(_Recovery):
    """A recovery in a list."""

    status: Status
    queued_at: datetime
    held_by: str | None
    available_at: datetime | None
    deferred_for: DeferredFor | None
    first_contact_at: datetime | None
    first_reached_at: datetime | None
    outcome: Outcome | None
    closed_at: datetime | None


class HeldRecovery(Recovery):
    """A recovery after a step of its holder."""

    claim_number: int


class Signal(BaseModel):
    """One statement of the customer."""

    source: str
    event_id: str
    at: datetime
    received_at: datetime
    kind: SignalKind
    region: str
    product: str | None
    process: str | None
    channel: str | None
    score: float | None
    reason: str | None
    comment: str | None
    complaint_id: str | None
    order_id: str | None
    contact_id: str | None
    campaign_id: str | None


class Contact(BaseModel):
    """One recorded call."""

    contact_id: UUID
    attempt: int
    agent: str
    at: datetime
    recorded_at: datetime
    reached: bool
    result: Result
    reason: Reason | None
    note: str | None
    next_attempt_at: datetime | None


class Step(BaseModel):
    """Who, when, why, from what to what."""

    at: datetime
    actor: str
    action: str
    from_status: Status | None
    to_status: Status
    why: str | None
    version: int


class Story(Recovery):
    """A recovery with all that happened."""

    signals: list[Signal]
    contacts: list[Contact]
    history: list[Step]


class Recorded(BaseModel):
    """The recorded call, and what became of the recovery."""

    contact_id: UUID
    recovery: HeldRecovery


class Revealed(BaseModel):
    """The number in full; that it was shown is kept."""

    recovery_id: UUID
    phone: str


class Reservation(BaseModel):
    """A planned contact with a customer; it counts against the limits while reserved and when confirmed."""

    reservation_id: UUID
    customer_id: str
    region: str
    purpose: str
    state: Literal["reserved", "confirmed", "released", "expired"]
    at: datetime
    expires_at: datetime | None
