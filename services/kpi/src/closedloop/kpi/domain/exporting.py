"""What of the indicators is shown to Prometheus, within a bound on time series.

An indicator is shown as a whole and once per combination of the dimensions that it marks for export; its state once per series
that is judged. Where that is more than the bound, it is combinations that are left out, so that a region is seen with all its
indicators or not at all (but for the one that meets the bound).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from closedloop.kpi.domain.catalogue import EventIndicator, Indicator

Level = Literal["ok", "pending", "warning", "critical"]
LEVELS: Final[Mapping[Level, int]] = {"ok": 0, "pending": 1, "warning": 2, "critical": 3}
"""The number by which a level stands in Prometheus."""
STATE: Final = "state"
QUIET: Final = "quiet"
ESCALATIONS: Final = "escalations"
SAMPLE: Final = "sample"
DEFAULT_EXPORT: Final = ("region",)
"""By which an indicator is told apart that is computed from events and says nothing of it. Others are shown as a whole then."""

Group = tuple[tuple[str, str], ...]
"""Dimensions and their values, by the dimensions' names; () is the whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """One indicator and group; each of its figures is one time series. The figures are some of `value`, `numerator`, `denominator`,
    `sample`, `state`, `quiet` and `escalations`; one that is not there is not known, or 0."""

    indicator_id: str
    group: Group
    figures: Mapping[str, float]


def exported_by(indicator: Indicator) -> tuple[str, ...]:
    """The dimensions by which it is told apart in Prometheus, sorted."""
    return tuple(sorted(indicator.export or (DEFAULT_EXPORT if isinstance(indicator, EventIndicator) else ())))


def shows_state(indicator: Indicator, dimensions: Mapping[str, str], level: Level) -> bool:
    """Whether a series' state is shown. Of what is judged by its period, more than half of the catalogue, the whole's always, and a
    region's while there is something to say: the bound is for what moves within hours."""
    return not indicator.is_judged_by_period or not dimensions or LEVELS[level] > LEVELS["ok"]


def is_alarming(row: Row) -> bool:
    """Whether it stands in warning or critical."""
    return row.figures.get(STATE, 0) >= LEVELS["warning"]


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row per indicator and group, with all their figures."""
    together: defaultdict[tuple[str, Group], dict[str, float]] = defaultdict(dict)
    for row in rows:
        together[row.indicator_id, row.group] |= row.figures
    return [Row(indicator_id, group, figures) for (indicator_id, group), figures in together.items()]


def within(rows: Iterable[Row], most: int) -> tuple[list[Row], int]:
    """The rows that are shown with at most so many time series, and how many time series are left out.

    First come the wholes, then the combinations in which something stands in warning or critical, then those with most events.
    """
    rows = list(rows)
    events: defaultdict[Group, float] = defaultdict(float)
    alarming: set[Group] = set()
    for row in rows:
        events[row.group] += row.figures.get(SAMPLE, 0)
        if is_alarming(row):
            alarming.add(row.group)

    def rank(row: Row) -> tuple[bool, bool, float, Group, str]:
        return row.group != (), row.group not in alarming, -events[row.group], row.group, row.indicator_id

    shown: list[Row] = []
    room = most
    for row in sorted(rows, key=rank):
        room -= len(row.figures)
        if room < 0:
            break
        shown.append(row)
    return shown, sum(len(row.figures) for row in rows) - sum(len(row.figures) for row in shown)
