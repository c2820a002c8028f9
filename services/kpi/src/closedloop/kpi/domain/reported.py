"""What reported figures say about a window of time, for some regions and groups.

A **flow** (orders, calls) over a window adds up the periods that lie whole in it. A **level** (customers, a score) is the last
figure known of a period that began before the window's end. Numerators and denominators are added; where only values were
reported their mean is taken, each with the same weight, as nothing says how much each stands for.

Figures may be reported for the whole and for its parts. What is asked for is answered by the coarsest figures, and by finer ones
only where those leave something out: no two that are added up can be of the same customers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from closedloop.kpi.domain.catalogue import ReportedIndicator

Shape = tuple[str, ...]
Codes = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The last known version of a figure of [start, end), in minutes since 1970."""

    start: int
    end: int
    dimensions: Mapping[str, str]
    numerator: float | None
    denominator: float | None
    value: float | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What the figures together say. `sample` is how many stand in it; `value` is None where nothing is known."""

    value: float | None
    numerator: float | None
    denominator: float | None
    sample: int
    note: str | None = None


NOTHING: Final = Sums(None, None, None, 0)


class Answer:
    """The figures that fit one question. They are those of one group: equal in what it is grouped by."""

    def __init__(self, indicator: ReportedIndicator, figures: Iterable[Known]) -> None:
        self._indicator = indicator
        self._places = {name: place for place, name in enumerate(indicator.dimensions)}
        fit = [known for known in figures if all(getattr(known, name) is not None for name in indicator.quantities)]
        self._figures = sorted(fit, key=lambda known: known.start)
        self._starts = [known.start for known in self._figures]
        self._ends = [known.end for known in self._figures]
        self._made: dict[tuple[int, int], Sums] = {}

    def over(self, start: int, end: int) -> Sums:
        """For the window [start, end)."""
        # periods of one indicator are of one length, so both ends ascend
        first = 0 if self._indicator.is_level else bisect_left(self._starts, start)
        after = bisect_left(self._starts, end) if self._indicator.is_level else bisect_right(self._ends, end)
        if after <= first:
            return NOTHING
        if (first, after) not in self._made:
            found = self._figures[first:after]
            self._made[first, after] = self._sums(self._last(found) if self._indicator.is_level else self._flow(found))
        return self._made[first, after]

    def _flow(self, found: Sequence[Known]) -> list[Known]:
        by_period: dict[int, list[Known]] = {}
        for known in found:
            by_period.setdefault(known.start, []).append(known)
        return [one for period in by_period.values() for one in apart(sorted(period, key=self._coarse))]

    def _last(self, found: Sequence[Known]) -> list[Known]:
        newest = {tuple(sorted(known.dimensions.items())): known for known in found}
        return apart(sorted(newest.values(), key=lambda known: (-known.start, self._coarse(known))))

    def _coarse(self, known: Known) -> tuple[int, tuple[int, ...]]:
        """Orders figures from the whole to its parts; of two ways to divide it, the catalogue names the first first."""
        return len(known.dimensions), tuple(sorted(self._places.get(name, len(self._places)) for name in known.dimensions))

    def _sums(self, figures: Sequence[Known]) -> Sums:
        count = len(figures)
        if self._indicator.quantities == ("value",):
            note = f"the mean of {count} reported values, each with the same weight" if count > 1 else None
            return Sums(sum(known.value or 0.0 for known in figures) / count, None, None, count, note)
        numerator = sum(known.numerator or 0.0 for known in figures)
        denominator = sum(known.denominator or 0.0 for known in figures) if self._indicator.has_parts else None
        return Sums(self._indicator.value(numerator, denominator), numerator, denominator, count)


def apart(figures: Iterable[Known]) -> list[Known]:
    """Of figures in order of preference those that overlap with none taken before: they differ from each of these in some
    dimension that both name."""
    taken: dict[Shape, list[Known]] = {}
    seen: dict[tuple[Shape, Shape], set[Codes]] = {}
    chosen: list[Known] = []
    for known in figures:
        shape = tuple(sorted(known.dimensions))
        if any(_overlaps(known, shape, other, same, seen) for other, same in taken.items()):
            continue
        chosen.append(known)
        taken.setdefault(shape, []).append(known)
        for (other, common), codes in seen.items():
            if other == shape:
                codes.add(_codes(known, common))
    return chosen


def _overlaps(
    known: Known, shape: Shape, other: Shape, taken: Sequence[Known], seen: dict[tuple[Shape, Shape], set[Codes]]
) -> bool:
    common = tuple(name for name in shape if name in other)
    if (other, common) not in seen:
        seen[other, common] = {_codes(one, common) for one in taken}
    return _codes(known, common) in seen[other, common]


def _codes(known: Known, names: Shape) -> Codes:
    return tuple(known.dimensions.get(name) for name in names)
