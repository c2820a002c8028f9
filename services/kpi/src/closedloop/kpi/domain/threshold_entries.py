"""Reads `threshold` and `control` of a catalogue entry."""

import operator
import re
from typing import Final, get_args

from closedloop.kpi.domain.entry_reader import EntryReader, Wrong, day, mapping, minutes, names, number, one_of, shown, whole
from closedloop.kpi.domain.thresholds import (
    ESCALATE_AFTER_MINUTES,
    THRESHOLD_WINDOWS,
    Chart,
    Control,
    Level,
    Mute,
    Period,
    Rule,
    Threshold,
)

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
BASELINE: Final[dict[Period, int]] = {"hour": 168, "hour_of_day": 28, "day": 28}
"""Periods from which a chart's limits come where the entry does not say: a week of hours, four weeks of days."""
MOST_BASELINE: Final[dict[Period, int]] = {"hour": 24 * 28, "hour_of_day": 28, "day": 56}
LEAST_BASELINE: Final = 8
_BASELINES: Final[dict[Period, str]] = {"hour": "hours", "hour_of_day": "days", "day": "days"}
_WORSE: Final = {"higher": operator.lt, "lower": operator.gt}
_MUTE: Final = re.compile(
    r"(?:(?:(?P<days>[a-z,]+)|(?P<first>\d{4}-\d\d-\d\d)(?:\.\.(?P<last>\d{4}-\d\d-\d\d))?) )?"
    r"(?P<h1>[01]\d|2[0-3]):(?P<m1>[0-5]\d)-(?P<h2>[01]\d|2[0-4]):(?P<m2>[0-5]\d)\Z",
    re.ASCII,
)
_MUTES: Final = "`sat,sun 00:00-24:00`, `22:00-06:00` or `2026-10-01..2026-10-07 00:00-24:00`"


def threshold_of(value: object, reader: EntryReader, dimensions: tuple[str, ...], better: str | None) -> Threshold | None:
    """The threshold, or None where `reader` was told of a problem. Raises Wrong where it is no mapping."""
    inner = reader.inside("threshold", mapping(value, "window, critical, minimum_sample and, per group, by"))
    inner.check_keys(("window", "critical", "minimum_sample"), ("by", "warning", "hysteresis", "for", "escalate_after", "mute"))
    window = inner.take("window", one_of(tuple(THRESHOLD_WINDOWS)))
    critical = inner.take("critical", number)
    warning = inner.take("warning", number)
    sample = inner.take("minimum_sample", whole)
    by = inner.take("by", lambda found: names(found, dimensions, "dimension of this indicator"))
    hysteresis = inner.take("hysteresis", number)
    lasting = inner.take("for", minutes)
    escalate_after = inner.take("escalate_after", minutes)
    mute = inner.take("mute", _mutes)
    if hysteresis is not None and hysteresis < 0:
        inner.complain("hysteresis", f"must be 0 or more, in the indicator's unit, not {hysteresis:g}")
    if critical is not None and warning is not None and better in _WORSE and not _WORSE[better](critical, warning):
        inner.complain("warning", f"{warning:g} is not better than the critical {critical:g}, although `better` is {better}")
    if window is None or critical is None or sample is None:
        return None
    return Threshold(
        window,
        critical,
        sample,
        by or (),
        warning,
        hysteresis or 0.0,
        lasting or 0,
        escalate_after or ESCALATE_AFTER_MINUTES,
        mute or (),
    )


def control_of(value: object, reader: EntryReader, dimensions: tuple[str, ...]) -> Control | None:
    """The control chart, or None where `reader` was told of a problem. Raises Wrong where it is no mapping."""
    inner = reader.inside("control", mapping(value, "chart and period"))
    inner.check_keys(("chart", "period"), ("baseline", "rules", "by", "level", "mute"))
    chart = inner.take("chart", one_of(get_args(Chart)))
    period = inner.take("period", one_of(get_args(Period)))
    baseline = inner.take("baseline", whole)
    rules = inner.take("rules", lambda found: names(found, get_args(Rule), "rule"))
    by = inner.take("by", lambda found: names(found, dimensions, "dimension of this indicator"))
    level = inner.take("level", one_of(get_args(Level)))
    mute = inner.take("mute", _mutes)
    if chart is None or period is None:
        return None
    if baseline is not None and not LEAST_BASELINE <= baseline <= MOST_BASELINE[period]:
        inner.complain("baseline", f"must be {LEAST_BASELINE} to {MOST_BASELINE[period]} {_BASELINES[period]}, not {baseline}")
    if chart in ("p", "u") and not reader.has("denominator"):
        inner.complain("chart", f"{chart} needs a `denominator`, the size of each period; take xmr for a count or a sum")
    if rules == ():
        inner.complain("rules", f"must name one at least (there are {', '.join(get_args(Rule))})")
    return Control(
        chart, period, baseline or BASELINE[period], rules or ("beyond_limit",), by or (), level or "warning", mute or ()
    )


def _mutes(value: object) -> tuple[Mute, ...]:
    if not isinstance(value, list):
        raise Wrong(f"must be a list of times such as {_MUTES}, not {shown(value)}")
    return tuple(_mute(written) for written in value)


def _mute(value: object) -> Mute:
    match = _MUTE.match(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"must hold times such as {_MUTES}, not {shown(value)}")
    first, last = (None, None) if match["first"] is None else (day(match["first"]), day(match["last"] or match["first"]))
    if first is not None and last is not None and last < first:
        raise Wrong(f"must hold days of which the last is not before the first, not {shown(value)}")
    days = match["days"].split(",") if match["days"] else WEEKDAYS
    unknown = [name for name in days if name not in WEEKDAYS]
    if unknown:
        raise Wrong(f"`{unknown[0]}` is no day of the week (there are {', '.join(WEEKDAYS)})")
    start, end = (int(match[hour]) * 60 + int(match[minute]) for hour, minute in (("h1", "m1"), ("h2", "m2")))
    if end > 24 * 60 or start == end:
        raise Wrong(f"must hold times that end after they begin, 24:00 at the latest, not {shown(value)}")
    return Mute(frozenset(WEEKDAYS.index(name) for name in days), start, end, first, last)


def written(mute: Mute) -> str:
    """As an entry has it."""
    times = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (mute.start, mute.end))
    if mute.first is not None:
        return f"{mute.first} {times}" if mute.first == mute.last else f"{mute.first}..{mute.last} {times}"
    days = ",".join(name for number, name in enumerate(WEEKDAYS) if number in mute.weekdays)
    return times if len(mute.weekdays) == len(WEEKDAYS) else f"{days} {times}"


def is_worse(value: float, than: float, better: str) -> bool:
    """Whether a value is worse than another, by the indicator's `better`."""
    return bool(_WORSE[better](value, than))
