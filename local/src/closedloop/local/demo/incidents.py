"""What goes wrong in the city: a burst of one subject, a region with bad service, orders that fail. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cache
from random import Random


@dataclass(frozen=True)
class Incident:
    """From `start` to `end` (aware); what it does not name goes on as usual."""

    title: str
    start: datetime
    end: datetime
    topic_path: str | None = None
    complaints_per_hour: float = 0.0
    region: str | None = None
    dissatisfied: float | None = None
    failed_orders: float | None = None

    def at(self, moment: datetime) -> bool:
        """Whether it is going on."""
        return self.start <= moment < self.end


def burst(start: datetime) -> Incident:
    """The case from the field: top-ups through UnionPay are paid and not credited."""
    return Incident(
        "top-ups through UnionPay are not credited",
        start,
        start + timedelta(hours=2),
        topic_path="top_up/unionpay_not_credited",
        complaints_per_hour=45,
        failed_orders=0.25,
    )


def bad_region(start: datetime, region: str) -> Incident:
    """A region whose customers are served badly for an afternoon."""
    return Incident(f"bad service in {region}", start, start + timedelta(hours=3), region=region, dissatisfied=0.6)


def slow_broadband(start: datetime, region: str) -> Incident:
    """A cut cable: broadband complaints from one region."""
    return Incident(
        f"a cut cable in {region}",
        start,
        start + timedelta(hours=3),
        topic_path="broadband/no_connection",
        complaints_per_hour=30,
        region=region,
        dissatisfied=0.35,
    )


@cache
def of_day(day: date, zone: tzinfo) -> tuple[Incident, ...]:
    """The incidents of one day of local time, always the same: every second day has one, some have two."""
    fate = Random(f"incidents {day}")  # noqa: S311
    morning = datetime.combine(day, time(9 + fate.randrange(3), 10 * fate.randrange(6)), zone)
    afternoon = datetime.combine(day, time(14 + fate.randrange(4), 10 * fate.randrange(6)), zone)
    kind = fate.randrange(6)
    found = []
    if kind in (0, 1):
        found.append(burst(morning))
    if kind in (1, 2):
        found.append(bad_region(afternoon, fate.choice(["NJ", "SZ"])))
    if kind == 3:
        found.append(slow_broadband(afternoon, fate.choice(["WX", "NT", "XZ"])))
    return tuple(found)


def going_on(incidents: Iterable[Incident], moment: datetime) -> list[Incident]:
    """Those of them that are going on."""
    return [incident for incident in incidents if incident.at(moment)]
