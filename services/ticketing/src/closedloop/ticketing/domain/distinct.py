"""Which complaints count: each customer once per 24 hours and subject.

A complaint counts unless the same customer has an earlier one on the subject within the 24 hours before it, counted
or not: who complains every evening is one customer with one trouble. "Earlier" is by event time, and by event id
where times are equal, so the answer does not depend on the order in which complaints arrive.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

ONCE_PER = timedelta(hours=24)


@dataclass(frozen=True, order=True)
class Complaint:
    """A complaint on one subject. `time` needs a zone and is kept in UTC; `event_id` must be unique (a CloudEvent's
    source and id together)."""

    time: datetime
    event_id: str
    customer_id: str

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"time {self.time.isoformat()} has no zone: give it one, e.g. datetime(…, tzinfo=UTC)")
        # Two datetimes of one zone are compared by its wall clock, wrong where clocks change.
        object.__setattr__(self, "time", self.time.astimezone(UTC))


def counts(complaint: Complaint, preceding: Complaint | None) -> bool:
    """Whether a complaint counts, given the same customer's complaint on this subject right before it."""
    return preceding is None or complaint.time - preceding.time >= ONCE_PER


class Arrival(NamedTuple):
    """What a complaint changes when it arrives, in whatever order complaints come."""

    counts: bool
    """Whether the complaint itself counts."""
    uncounts_following: bool
    """Whether the customer's next complaint counted until now and does so no longer."""


def arrival(complaint: Complaint, preceding: Complaint | None, following: Complaint | None) -> Arrival:
    """What changes when a complaint is put between the same customer's complaints right before and right after it on
    the subject. Nothing else can change: a complaint depends only on the one right before it."""
    return Arrival(
        counts=counts(complaint, preceding),
        uncounts_following=following is not None and counts(following, preceding) and not counts(following, complaint),
    )


def distinct(complaints: Iterable[Complaint]) -> list[Complaint]:
    """The complaints that count, by event time."""
    latest: dict[str, Complaint] = {}
    counted = []
    for complaint in sorted(complaints):
        if counts(complaint, latest.get(complaint.customer_id)):
            counted.append(complaint)
        latest[complaint.customer_id] = complaint
    return counted
