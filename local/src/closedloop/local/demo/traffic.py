"""The city's events, hour by hour. Pure and repeatable: the same hour gives the same events with the same ids, so a demo
that is started again sends nothing twice that counts twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from random import Random
from typing import Any

from closedloop.local.demo.city import CUSTOMERS, SUBJECTS, Customer, customer, pick, rhythm
from closedloop.local.demo.incidents import Incident, going_on, of_day

HOUR = timedelta(hours=1)
LONGEST_STORY = timedelta(hours=48)
"""What begins now has its last event at most so much later."""
SOURCE = "/demo"

_ORDERS_A_DAY, _RATINGS_A_DAY, _ENQUIRIES_A_DAY = 6_000, 7_000, 400
_ORDER_TYPES = {"top_up": 50, "plan_change": 20, "new_install": 6, "fault_repair": 6, "suspension": 9, "resumption": 9}
_ORDER_CHANNELS = {"app": 45, "web": 20, "business_hall": 25, "hotline": 10}
_RATING_CHANNELS = {"hotline": 55, "business_hall": 30, "app": 15}
_PROCESS_OF_SUBJECT = {"top_up": "business_support", "bill": "business_support", "tariff": "tariff", "promotion": "promotion"}
_REASONS = ("long_wait", "not_solved", "unfriendly", "unclear", "had_to_call_again")


@dataclass(frozen=True, order=True)
class Said:
    """One event: when, and the CloudEvent as ingest takes it."""

    time: datetime
    id: str
    type: str
    data: dict[str, Any]

    def cloud_event(self) -> dict[str, Any]:
        """CloudEvents 1.0, structured mode."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": self.type,
            "time": self.time.isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
            "data": self.data,
        }


class Traffic:
    """The events that begin in a given hour. `scale` multiplies all volumes; `extra` incidents come on top of the days' own."""

    def __init__(self, zone: tzinfo, scale: float = 1.0, extra: Sequence[Incident] = ()) -> None:
        self._zone, self._scale, self._extra = zone, scale, tuple(extra)

    def incidents(self, moment: datetime) -> list[Incident]:
        """What is going wrong at that moment."""
        return going_on((*self._extra, *of_day(moment.astimezone(self._zone).date(), self._zone)), moment)

    def hour(self, start: datetime, *, only_complaints: bool = False) -> Iterator[Said]:
        """All stories that begin in [start, start + 1 h), unsorted; `start` is a whole hour in UTC."""
        busy = rhythm(start.astimezone(self._zone)) * self._scale / 24
        for subject, a_day in SUBJECTS.items():
            yield from self._arrivals(start, f"complaint {subject}", busy * a_day, partial(_complaint, subject))
        if only_complaints:
            return
        yield from self._arrivals(start, "order", busy * _ORDERS_A_DAY, self._order)
        yield from self._arrivals(start, "rating", busy * _RATINGS_A_DAY, self._rating)
        yield from self._arrivals(start, "enquiry", busy * _ENQUIRIES_A_DAY, _enquiry)
        day = start.astimezone(self._zone).date()
        for incident in (*self._extra, *of_day(day, self._zone)):
            if incident.topic_path:
                what = f"complaint {incident.topic_path} {incident.start.astimezone(UTC):%m%dT%H%M}"
                per_hour = incident.complaints_per_hour * self._scale
                yield from self._arrivals(start, what, per_hour, partial(_complaint_because, incident))

    def _arrivals(self, start: datetime, what: str, per_hour: float, story: "Callable[[_Scene], Iterator[Said]]") -> Iterator[Said]:
        if per_hour <= 0:
            return
        fate = Random(f"{what} {start:%Y%m%dT%H}")  # noqa: S311
        seconds, number = fate.expovariate(per_hour / 3600), 0
        while seconds < 3600:
            at = start + timedelta(seconds=seconds)
            name = f"{what.replace(' ', '-').replace('/', '-')}-{start:%Y%m%d%H}-{number}"
            yield from story(_Scene(at, name, Random(f"{name} story"), customer(fate.randrange(CUSTOMERS))))  # noqa: S311
            seconds, number = seconds + fate.expovariate(per_hour / 3600), number + 1

    def _order(self, scene: "_Scene") -> Iterator[Said]:
        fate = scene.fate
        kind = pick(fate, _ORDER_TYPES)
        data = {"order_id": f"o-{scene.name}", "order_type": kind, "channel": pick(fate, _ORDER_CHANNELS)}
        data |= {"process": "e_channel" if data["channel"] in ("app", "web") else data["channel"]}
        slow = kind in ("new_install", "fault_repair")
        takes = timedelta(hours=fate.uniform(3, 40)) if slow else timedelta(seconds=fate.uniform(5, 600))
        worst = max((i.failed_orders or 0.0 for i in self.incidents(scene.at) if kind == "top_up"), default=0.0)
        fails = fate.random() < max(0.02, worst)
        yield scene.say("order.status_changed.v1", "submitted", {**data, "status": "submitted"})
        if slow:
            later = timedelta(minutes=fate.uniform(5, 90))
            yield scene.say("order.status_changed.v1", "in_progress", {**data, "status": "in_progress"}, later)
        status = "failed" if fails else "completed"
        how = {"reason": "system_timeout"} if fails else {"first_try": fate.random() < 0.97}
        end = {**data, "status": status, "duration_s": round(takes.total_seconds(), 1), **how}
        yield scene.say("order.status_changed.v1", status, end, takes)
        if slow and not fails and fate.random() < 0.3:
            yield self._rated(scene, takes + timedelta(minutes=20), {"kind": "survey", "order_id": data["order_id"]})

    def _rating(self, scene: "_Scene") -> Iterator[Said]:
        channel = pick(scene.fate, _RATING_CHANNELS)
        process = "e_channel" if channel == "app" else channel
        yield self._rated(scene, timedelta(0), {"kind": "sms_rating", "channel": channel, "process": process})

    def _rated(self, scene: "_Scene", later: timedelta, data: dict[str, Any]) -> Said:
        fate = scene.fate
        troubled = [i.dissatisfied for i in self.incidents(scene.at + later) if i.dissatisfied and scene.lives_in(i.region)]
        unhappy = fate.random() < max([0.06, *troubled])
        data = {**data, "score": fate.randint(1, 4) if unhappy else fate.randint(7, 10), "contact_id": f"k-{scene.name}"}
        if unhappy:
            data["reason"] = fate.choice(_REASONS)
        return scene.say("evaluation.submitted.v1", "rated", data, later)


@dataclass(frozen=True)
class _Scene:
    """Where a story begins: when, its name, its chance, whose it is."""

    at: datetime
    name: str
    fate: Random
    who: Customer

    def lives_in(self, region: str | None) -> bool:
        return region is None or self.who.region == region

    def say(self, type_: str, step: str, data: dict[str, Any], later: timedelta = timedelta(0)) -> Said:
        who = self.who
        person = {"customer_id": who.id, "region": who.region, "customer_class": who.customer_class}
        person |= {"product": who.product, "phone": who.phone}
        return Said(self.at + later, f"{self.name}-{step}", type_, {**person, **data})


def _complaint_because(incident: Incident, scene: _Scene) -> Iterator[Said]:
    if incident.at(scene.at) and scene.lives_in(incident.region):
        yield from _complaint(str(incident.topic_path), scene)


def _complaint(subject: str, scene: _Scene) -> Iterator[Said]:
    fate = scene.fate
    process = _PROCESS_OF_SUBJECT.get(subject.partition("/")[0], "business_support")
    about = {"complaint_id": f"c-{scene.name}", "topic_path": subject, "process": process, "channel": "hotline"}
    severity = fate.choices((1, 2, 3, 4), (1, 4, 45, 50))[0]
    yield scene.say("complaint.registered.v1", "registered", {**about, "severity": severity})
    if fate.random() < 0.01:
        data = {**about, "level": "province", "reason": "no answer in time"}
        yield scene.say("complaint.escalated.v1", "escalated", data, timedelta(hours=fate.uniform(2, 10)))
    closed = {**about, "resolution": fate.choice(("explained", "refunded", "repaired")), "satisfied": fate.random() < 0.88}
    yield scene.say("complaint.closed.v1", "closed", closed, timedelta(hours=fate.uniform(4, 47)))


def _enquiry(scene: _Scene) -> Iterator[Said]:
    subject = pick(scene.fate, SUBJECTS)
    data = {"enquiry_id": f"e-{scene.name}", "topic_path": subject, "channel": "hotline"}
    yield scene.say("enquiry.registered.v1", "registered", data)
