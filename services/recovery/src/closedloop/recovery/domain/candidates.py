"""A batch's signals, customer by customer."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.domain.segments import Segment, segment_of
from closedloop.recovery.domain.signals import Signal


@dataclass(frozen=True, slots=True)
class Candidate:
    """One customer's new signals, as the recovery that they open where none is open.

    The first that came gives id, region and segment; the earliest in event time gives the deadline; the last phone is kept.
    """

    first: Signal
    segment: Segment
    dissatisfied_at: datetime
    deadline: datetime
    phone: str | None
    signals: tuple[Signal, ...]


def candidates_of(signals: Iterable[Signal], rules: Rules) -> list[Candidate]:
    """One candidate a customer, from signals in the order in which they came."""
    of_customer: dict[str, list[Signal]] = {}
    for signal in signals:
        of_customer.setdefault(signal.customer_id, []).append(signal)
    return [_candidate(group, rules) for group in of_customer.values()]


def _candidate(group: list[Signal], rules: Rules) -> Candidate:
    first = group[0]
    earliest = min(signal.at for signal in group)
    return Candidate(
        first=first,
        segment=segment_of(
            first.kind,
            first.channel,
            first.customer_class,
            first.region,
            high_value=rules.high_value,
            county_regions=rules.county_regions,
        ),
        dissatisfied_at=earliest,
        deadline=earliest + rules.promise,
        phone=next((signal.phone for signal in reversed(group) if signal.phone), None),
        signals=tuple(group),
    )
