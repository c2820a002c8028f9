"""A trigger's firing: the evidence that opens a ticket or is added to the open one."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from closedloop.common.events.model import AnyEvent
from closedloop.ticketing.domain.cause import Cause

Trigger = Literal["batch", "hot", "hot_enquiries", "escalated", "indicator", "manual"]
_NAMESPACE = uuid.UUID("5a0d2f0e-7a0c-5c1e-9d55-0b1f6e2c7a11")


@dataclass(frozen=True)
class Evidence:
    """Where and whom it touched: customers per region, and some of the complaints (ids, regions, times; no text, no phone)."""

    regions: Mapping[str, int]
    complaints: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class TriggerFiring:
    """What one trigger states about one cause. `key` tells it from the trigger's other firings on the cause; `at` is event time."""

    trigger: Trigger
    cause: Cause
    key: str
    at: datetime
    title: str
    urgency: int
    customers: int
    evidence: Evidence
    window_start: datetime | None = None
    window_end: datetime | None = None
    expected: float | None = None
    observed: float | None = None
    unit: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    told_by: AnyEvent | None = field(default=None, compare=False)
    """The event that stated it, where one did: the ticket continues its trace."""

    @property
    def id(self) -> uuid.UUID:
        """The same for the same trigger, cause and key: whoever states it again states nothing new."""
        return uuid.uuid5(_NAMESPACE, "\n".join((self.trigger, self.cause.name, self.key)))


def window_key(start: datetime, end: datetime) -> str:
    """The key of a firing about a window of event time."""
    return f"{start.isoformat()}/{end.isoformat()}"
