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
    signal_ids: tuple[int, ...]


def candidates_of(signals: Iterable[tuple[int, Signal]], rules: Rules) -> list[Candidate]:
    """One candidate a customer, from (signal id, signal) in the order in which they came."""
    of_customer: dict[str, list[tuple[int, Signal]]] = {}
    for signal_id, signal in signals:
        of_customer.setdefault(signal.customer_id, []).append((signal_id, signal))
    return [_candidate(group, rules) for group in of_customer.values()]


def _candidate(group: list[tuple[int, Signal]], rules: Rules) -> Candidate:
    first = group[0][1]
    earliest = min(signal.at for _, signal in group)
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
        phone=next((signal.phone for _, signal in reversed(group) if signal.phone), None),
        signal_ids=tuple(signal_id for signal_id, _ in group),
    )
