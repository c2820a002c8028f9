"""Events as frames, for tests of formulas: each row is an event of which only the given fields are known."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from closedloop.kpi.domain.buckets import Bucketing
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import COLUMNS, MINUTE, with_derived
from closedloop.kpi.domain.rolling import figures_over_windows

EVENING: Final = datetime(2026, 11, 20, 18, 30, 15, tzinfo=UTC)


def frame(topic: str, *events: dict[str, Any]) -> pl.DataFrame:
    """The topic's frame, derived columns included."""
    rows = [{"at": EVENING, **event} for event in events]
    unknown = {name for row in rows for name in row} - COLUMNS[topic].keys()
    assert not unknown, f"{topic} has no {unknown}"
    return with_derived(pl.DataFrame(rows, schema=COLUMNS[topic]), topic)


def sums(indicator: EventIndicator, events: pl.DataFrame) -> tuple[float, float | None, float]:
    """(numerator, denominator, sample) over all the events."""
    minute = events[MINUTE].item(0)
    buckets = Bucketing.of(Catalogue([replace(indicator, parent=None)]), indicator.topic).fold(events)
    figures = figures_over_windows([buckets], (), [(minute, minute + 1)], indicator.parts).row(0, named=True)
    return figures["numerator"], figures.get("denominator"), figures["sample"]


def value(indicator: EventIndicator, events: pl.DataFrame) -> float | None:
    """The indicator's value over all the events."""
    numerator, denominator, _ = sums(indicator, events)
    return indicator.value(numerator, denominator)
