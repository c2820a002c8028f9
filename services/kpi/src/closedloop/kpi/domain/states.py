"""A series' life in event time: ok → pending → warning or critical → ok, and no data.

Each level has its own clock. A level *begins* once the value was bad enough for it at every minute of `lasting` minutes, and at
a minute where no mask forbids it. It *ends* at the first minute where the value is better than the threshold by the hysteresis,
or where too few events are left to say anything: nobody should work on a breach of which nothing is heard any more; if it comes
back with data it is stated anew.

Where the span of minutes is cut changes nothing: all that the next span must know stands in `Standing`.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from closedloop.kpi.domain.breach import CRITICAL, FINE, UNKNOWN, WARNING, Judgement
from closedloop.kpi.domain.masks import Masks, Suppression
from closedloop.kpi.domain.thresholds import Level, Rule

State = Literal["ok", "pending", "warning", "critical", "no_data"]
Reason = Literal["warning", "critical", "control", "back", "no data"]
LEVELS: Final[dict[int, Level]] = {WARNING: "warning", CRITICAL: "critical"}
RANKS: Final[dict[Level, int]] = {level: rank for rank, level in LEVELS.items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a state rests on. `value` is None where there is not enough data for one; `limit` where it is the threshold's. `until`:
    where the period ends that it is of, None where that follows from the minute."""

    value: float | None
    numerator: float
    denominator: float
    sample: int
    limit: float | None = None
    rule: Rule | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """From minute `end` on the series stands at `rank`, no longer at `before`."""

    end: int
    before: int
    rank: int
    reason: Reason
    evidence: Evidence

    @property
    def is_breach(self) -> bool:
        """Whether it got worse."""
        return self.rank > self.before


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a series stands. `since`: the minute from which it has been in its `state`; `warning_since`, `critical_since`: from
    which the value has been bad enough for that level, without a break."""

    state: State = "ok"
    since: int | None = None
    rank: int = FINE
    warning_since: int | None = None
    critical_since: int | None = None
    suppressed_by: Suppression | None = None
    """What holds back, at the last minute that was judged, a breach at the level of which it is about."""
    evidence: Evidence | None = None

    def bad_since(self, rank: int) -> int | None:
        """The level's clock."""
        return self.critical_since if rank == CRITICAL else self.warning_since

    @property
    def entered(self) -> int:
        """The worst level for which the value was bad enough at the last minute that was judged."""
        if self.state == "no_data":
            return UNKNOWN
        return CRITICAL if self.critical_since is not None else WARNING if self.warning_since is not None else FINE


FRESH: Final = Standing()


def walk(judgement: Judgement, lasting: int, masks: Masks, standing: Standing, upto: int) -> tuple[list[Transition], Standing]:
    """What changes at the judgement's minutes and up to `upto`, and where the series stands then."""
    found: list[Transition] = []
    ends, enters, holds = judgement.ends, judgement.enters, judgement.holds
    changes = np.flatnonzero((enters[1:] != enters[:-1]) | (holds[1:] != holds[:-1])) + 1
    runs = [0, *changes.tolist(), len(ends)]
    for at, following in pairwise(runs):
        enter, hold = int(enters[at]), int(holds[at])
        minute = int(ends[at])
        stop = int(ends[following]) if following < len(ends) else upto + 1
        while minute < stop:
            before = standing.rank
            standing = _step(standing, minute, enter, hold, lasting, masks)
            if standing.rank != before:
                place = int(np.searchsorted(ends, minute, "right")) - 1
                found.append(_transition(judgement, place, minute, before, standing.rank))
            minute = _next_moment(standing, minute, enter, lasting, masks)
    return found, replace(standing, suppressed_by=_suppressed(standing, masks, upto), evidence=_evidence(judgement, len(ends) - 1))


def _suppressed(standing: Standing, masks: Masks, minute: int) -> Suppression | None:
    """What holds back the level at which the series stands or, where it stands at none, the one that its value is bad enough
    for."""
    mask = masks.at(minute)
    return mask.reason if mask is not None and mask.rank >= (standing.rank or standing.entered) else None


def _step(standing: Standing, minute: int, enter: int, hold: int, lasting: int, masks: Masks) -> Standing:
    """The series at a minute at which the value is as bad as `enter`, and still as bad as `hold`."""
    clocks = {rank: (standing.bad_since(rank) or minute) if enter >= rank else None for rank in LEVELS}
    rank = max(FINE, min(standing.rank, hold))
    mask = masks.at(minute)
    for level in (CRITICAL, WARNING):
        since = clocks[level]
        if level > rank and since is not None and minute - since >= lasting and (mask is None or mask.rank < level):
            rank = level
    state: State = "no_data" if enter == UNKNOWN else LEVELS[rank] if rank else "pending" if enter > FINE else "ok"
    since = standing.since if state == standing.state and standing.since is not None else minute
    return Standing(state, since, rank, clocks[WARNING], clocks[CRITICAL])


def _next_moment(standing: Standing, minute: int, enter: int, lasting: int, masks: Masks) -> int:
    """The next minute at which a level may begin although the value does not change."""
    moment = masks.next_edge(minute) if enter > standing.rank else 2**31
    for rank in LEVELS:
        since = standing.bad_since(rank)
        if since is not None and rank > standing.rank and since + lasting > minute:
            moment = min(moment, since + lasting)
    return moment


def _transition(judgement: Judgement, place: int, minute: int, before: int, rank: int) -> Transition:
    evidence = _evidence(judgement, place)
    if rank > before:
        reason: Reason = "control" if evidence.rule is not None else LEVELS[rank]
    else:
        reason = "no data" if judgement.enters[place] == UNKNOWN else "back"
    return Transition(minute, before, rank, reason, evidence)


def _evidence(judgement: Judgement, place: int) -> Evidence:
    is_known = judgement.enters[place] != UNKNOWN
    limit = None if judgement.limit is None else float(judgement.limit[place])
    return Evidence(
        value=float(judgement.value[place]) if is_known else None,
        numerator=float(judgement.numerator[place]),
        denominator=float(judgement.denominator[place]),
        sample=round(float(judgement.sample[place])),
        limit=limit if limit is not None and np.isfinite(limit) else None,
        rule=judgement.rules[place] if judgement.rules else None,
    )
