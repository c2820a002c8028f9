"""Times in which no breach begins: a mute calendar, a silence, a parent that stands breached itself.

One that stands already goes on under a mask, and may end there; one that still holds when the mask ends begins then.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.breach import CRITICAL
from closedloop.kpi.domain.thresholds import Mute
from closedloop.kpi.domain.windows import minute_of, time_of

Suppression = Literal["muted", "silenced", "inhibited"]
FOR_EVER: Final = 2**31 - 1
"""A minute that no event reaches."""


@dataclass(frozen=True, slots=True)
class Mask:
    """In [start, end), minutes since 1970, no breach of a level up to `rank` begins."""

    start: int
    end: int
    reason: Suppression
    rank: int = CRITICAL


class Masks:
    """Several masks as one; where they overlap the one of the worst level counts, and among equals the first given."""

    def __init__(self, masks: Iterable[Mask] = ()) -> None:
        given = [mask for mask in masks if mask.start < mask.end]
        self._edges = sorted({edge for mask in given for edge in (mask.start, mask.end)})
        # what covers the minutes from each edge to the next
        self._covers: list[Mask | None] = [None] * len(self._edges)
        places = {edge: place for place, edge in enumerate(self._edges)}
        for mask in given:
            for place in range(places[mask.start], places[mask.end]):
                other = self._covers[place]
                if other is None or other.rank < mask.rank:
                    self._covers[place] = mask

    def at(self, minute: int) -> Mask | None:
        """What covers the minute."""
        place = bisect_right(self._edges, minute) - 1
        return self._covers[place] if place >= 0 else None

    def next_edge(self, minute: int) -> int:
        """The first minute after this one at which a mask begins or ends; FOR_EVER where none does."""
        place = bisect_right(self._edges, minute)
        return self._edges[place] if place < len(self._edges) else FOR_EVER


@dataclass(frozen=True, slots=True)
class Silence:
    """What a person silenced: the series of an indicator (None: of any) that have these dimensions, in [start, end)."""

    indicator_id: str | None
    dimensions: Mapping[str, str]
    start: int
    end: int

    def matches(self, indicator_id: str, dimensions: Mapping[str, str]) -> bool:
        """Whether the series is meant."""
        return self.indicator_id in (None, indicator_id) and self.dimensions.items() <= dimensions.items()


def muted(mutes: Sequence[Mute], zone: ZoneInfo, after: int, upto: int) -> list[Mask]:
    """The calendar's masks that touch the minutes in (after, upto], by the operator's clock."""
    found = [mask for mute in mutes for mask in _of_calendar(mute, zone, after, upto)]
    return [mask for mask in found if mask.end > after and mask.start <= upto]


def _of_calendar(mute: Mute, zone: ZoneInfo, after: int, upto: int) -> Iterator[Mask]:
    day = time_of(after).astimezone(zone).date() - timedelta(days=1)
    last = time_of(upto).astimezone(zone).date()
    while day <= last:
        if mute.is_on(day):
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            length = mute.end if mute.end > mute.start else mute.end + 24 * 60
            # arithmetic on a local time is on its clock, whatever summer time does meanwhile
            start, end = midnight + timedelta(minutes=mute.start), midnight + timedelta(minutes=length)
            yield Mask(minute_of(start), minute_of(end), "muted")
        day += timedelta(days=1)


def inhibited(steps: Sequence[tuple[int, int]]) -> list[Mask]:
    """The masks of a parent that stands at a rank from each minute on: (minute, rank), ascending. A child's level does not begin
    while the parent stands at that level or a worse one."""
    ends = [*(minute for minute, _ in steps[1:]), *([FOR_EVER] if steps else [])]
    return [Mask(minute, end, "inhibited", rank) for (minute, rank), end in zip(steps, ends, strict=True) if rank > 0]
