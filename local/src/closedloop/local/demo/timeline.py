"""Events in the order of their time, taken as the clock of the demo goes on. Pure."""

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from closedloop.local.demo.traffic import HOUR, LONGEST_STORY, Said, Traffic


class Timeline:
    """The city's events from `start` on. Stories that began earlier go on, as they would on a real day."""

    def __init__(self, traffic: Traffic, start: datetime) -> None:
        self._traffic, self._start = traffic, start
        self._waiting: list[Said] = []
        self._hour = _whole_hour(start - LONGEST_STORY)

    def until(self, moment: datetime) -> list[Said]:
        """All events before `moment` that were not given yet, by time."""
        while self._hour < moment:
            for said in self._traffic.hour(self._hour):
                if said.time >= self._start:
                    heapq.heappush(self._waiting, said)
            self._hour += HOUR
        due = []
        while self._waiting and self._waiting[0].time < moment:
            due.append(heapq.heappop(self._waiting))
        return due


def complaints_between(traffic: Traffic, start: datetime, end: datetime) -> Iterator[list[Said]]:
    """The complaints registered in [start, end), an hour at a time: the history that bursts are compared with."""
    hour = _whole_hour(start)
    while hour < end:
        said = [s for s in traffic.hour(hour, only_complaints=True) if s.type == "complaint.registered.v1"]
        yield sorted(s for s in said if start <= s.time < end)
        hour += HOUR


def _whole_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def clock(begin: datetime, real_begin: datetime, real_now: datetime, speed: float) -> datetime:
    """The demo's time: `speed` times as fast as ours, but never ahead of it (ingest takes no events from the future)."""
    return min(begin + timedelta(seconds=(real_now - real_begin).total_seconds() * speed), real_now)
