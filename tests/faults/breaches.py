"""What kpi says about breaches, compared with a plain recomputation. Imports nothing of the product."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from faults.indicators import Fields, fields, totals
from faults.traffic import INCIDENT_ORDERS, Event, topic_of

FINE, WARNING, CRITICAL = range(3)
RANKS = {None: FINE, "warning": WARNING, "critical": CRITICAL}
HOURS = {"1h": 1, "24h": 24}
PERIODS = ("hour", "day")
"""In place of a window's length where a control chart judges whole periods."""


@dataclass(frozen=True)
class Threshold:
    """As shipped. `lasting`: minutes for which the value must be worse before a level begins. `is_ratio`: in percent.
    `per_region`: else over all."""

    hours: int
    warning: float | None
    critical: float
    minimum_sample: int
    hysteresis: float = 0
    lasting: int = 0
    better: str = "lower"
    is_ratio: bool = True
    per_region: bool = True

    def limit_of(self, rank: int) -> float:
        """What the value is compared with."""
        return self.warning if rank == WARNING and self.warning is not None else self.critical

    def rank(self, value: float, nearer: float = 0) -> int:
        """The worst level that begins there; one that stands ends only where the value is better by the hysteresis (`nearer`)."""
        found = FINE
        for rank, limit in ((WARNING, self.warning), (CRITICAL, self.critical)):
            if limit is not None and (value > limit - nearer if self.better == "lower" else value < limit + nearer):
                found = rank
        return found


THRESHOLDS = {
    "evaluations": {
        "dissatisfied_share": Threshold(1, None, 40, 30, 2),
        "broadband_dissatisfied_share": Threshold(24, 25, 40, 100, 2),
        "business_hall_dissatisfied_share": Threshold(24, 20, 35, 100, 2),
        "ec_dissatisfied_share": Threshold(24, 20, 35, 100, 2),
        "hotline_dissatisfied_share": Threshold(1, 20, 35, 50, 2, lasting=10, per_region=False),
    },
    "complaints": {
        "complaint_escalation_share": Threshold(24, 8, 15, 50, 1, lasting=30),
        "complaint_closed_unsatisfied_share": Threshold(24, 20, 30, 30, 2, lasting=30),
    },
    "orders": {
        "first_time_order_success_rate": Threshold(1, 88, 80, 50, 1, lasting=10, better="higher"),
        "order_failure_rate": Threshold(1, None, 15, 50),
        "hall_order_failure_rate": Threshold(1, 6, 12, 50, 1, lasting=10),
        "top_up_success_rate": Threshold(1, 95, 90, 50, 1, lasting=10, better="higher", per_region=False),
        "top_up_credited_within_5min_share": Threshold(1, 97, 92, 50, 1, lasting=10, better="higher", per_region=False),
        "timely_resumption_rate": Threshold(1, 98, 95, 50, 0.5, lasting=10, better="higher"),
        "resumption_failure_rate": Threshold(1, 2, 5, 50, 0.5, lasting=10),
        "broadband_install_within_48h_share": Threshold(24, 85, 70, 30, 2, better="higher"),
        "broadband_install_success_share": Threshold(24, 85, 70, 30, 2, better="higher"),
        "broadband_fault_repair_within_24h_share": Threshold(24, 85, 70, 30, 2, better="higher"),
        "leased_line_fault_repair_time": Threshold(24, 6, 8, 30, 0.5, is_ratio=False),
    },
}
ALL = {indicator: threshold for of_topic in THRESHOLDS.values() for indicator, threshold in of_topic.items()}


def is_charted(event: Event) -> bool:
    """Whether a control chart judged: that is a series of its own under the same subject."""
    return event["data"]["window"] in PERIODS


def minute_of(event: Event) -> int:
    """The minute since 1970 of a statement: by its time. Its sequence grows with it, and is even where a threshold judged."""
    minute = int(datetime.fromisoformat(event["time"]).timestamp()) // 60
    assert int(event["sequence"]) == 2 * minute + is_charted(event), event
    return minute


def rank_after(event: Event) -> int:
    """Where the series stands from then on. A breach that does not say is critical."""
    level = event["data"].get("level")
    return CRITICAL if level is None and event["type"] == "indicator.breached.v1" else RANKS[level]


def check_statements(statements: Iterable[Event]) -> dict[str, list[Event]]:
    """Each series gets worse with each breach and better with each recovery, each at a later minute than before, and its own
    figures bear it out.

    Returns the statements of each series. `statements`: each id once, in the order of their first coming.
    """
    series: dict[str, list[Event]] = defaultdict(list)
    for event in statements:
        indicator, mark, group = event["subject"].partition("?")
        assert indicator == event["data"]["indicator_id"], event
        series[f"{indicator}{'.control' if is_charted(event) else ''}{mark}{group}"].append(event)
    for name, its in series.items():
        minutes = [minute_of(event) for event in its]
        assert minutes == sorted(set(minutes)), (name, minutes)
        before = FINE
        for event in its:
            after = rank_after(event)
            kind = "indicator.breached.v1" if after > before else "indicator.recovered.v1"
            assert after != before and event["type"] == kind, (name, [(e["type"], rank_after(e)) for e in its])
            if not is_charted(event):
                _check_figures(event, before, after)
            before = after
    return series


def _check_figures(event: Event, before: int, after: int) -> None:
    data = event["data"]
    if data["window"] not in HOURS:
        return  # a month, judged by the clock: what it says of its figures is tested where they are reported
    start, end = (datetime.fromisoformat(data[name]) for name in ("window_start", "window_end"))
    assert end - start == timedelta(hours=HOURS[data["window"]]), event
    assert datetime.fromisoformat(event["time"]) == end, event
    is_breach = event["type"] == "indicator.breached.v1"
    assert "value" in data or not is_breach, event
    if "value" in data:
        is_worse = data["value"] > data["threshold"] if data["better"] == "lower" else data["value"] < data["threshold"]
        assert is_worse == is_breach, event
    threshold = ALL.get(data["indicator_id"])
    if threshold is None:
        return
    assert HOURS[data["window"]] == threshold.hours and data["better"] == threshold.better, event
    assert data["threshold"] == threshold.limit_of(max(before, after)), event
    assert data["dimensions"].keys() == ({"region"} if threshold.per_region else set()), event
    if "value" not in data:
        assert after == FINE and (data["sample"] < threshold.minimum_sample or not data["denominator"]), event
        return
    value = data["value"]
    assert abs(data["numerator"] * (100 if threshold.is_ratio else 1) / data["denominator"] - value) < 1e-6 * max(1, value), event
    assert data["sample"] >= threshold.minimum_sample, event
    # a level that lasts long enough begins; one that stands goes on within the hysteresis
    assert after <= max(threshold.rank(value), min(before, threshold.rank(value, threshold.hysteresis))), event
    assert after >= (threshold.rank(value) if threshold.lasting == 0 else min(before, threshold.rank(value))), event


def check_incidents(series: dict[str, list[Event]], incidents: Iterable[str]) -> int:
    """Each incident's region has breached once, and nothing else is said of it. Returns how many there are."""
    regions = set(incidents)
    for region in regions:
        [only] = series[f"order_failure_rate?region={region}"]
        data = only["data"]
        assert data["value"] == 100 and data["numerator"] == data["denominator"] == data["sample"] <= INCIDENT_ORDERS, only
    told = [subject for subject, its in series.items() if its[0]["data"].get("region") in regions]
    assert len(told) == len(regions), told
    return len(regions)


def check_standing(statements: Iterable[Event], good: Iterable[Event], stated_until: dict[str, int]) -> tuple[int, int]:
    """How series stand at the minute up to which a topic is stated is what a plain recomputation finds then.

    `stated_until`: topic → minute since 1970, stated after all events were counted. Returns how many series stand breached and
    how many do not.
    """
    said: dict[str, int] = {}
    for event in statements:
        if event["data"]["indicator_id"] in ALL and not is_charted(event) and minute_of(event) <= stated_until[_topic_of(event)]:
            said[event["subject"]] = rank_after(event)
    by_topic: dict[str, list[tuple[datetime, Fields]]] = defaultdict(list)
    for event in good:
        by_topic[topic_of(event)].append((datetime.fromisoformat(event["time"]), fields(event)))
    found: dict[str, tuple[int, int]] = {}
    for topic, thresholds in THRESHOLDS.items():
        end = datetime.fromtimestamp(stated_until[topic] * 60, UTC)
        for indicator, threshold in thresholds.items():
            window = [e for at, e in by_topic[topic] if end - timedelta(hours=threshold.hours) <= at < end]
            found |= _ranks(indicator, threshold, window)
    standing = {subject: rank for subject, rank in said.items() if rank != FINE}
    wrong = {}
    for subject in standing.keys() | found.keys():
        least, most = found.get(subject, (FINE, FINE))
        if not least <= (rank := standing.get(subject, FINE)) <= most:
            wrong[subject] = (rank, least, most)
    assert not wrong, wrong
    return len(standing), sum(subject not in standing for subject in found)


def _ranks(indicator: str, threshold: Threshold, window: list[Fields]) -> dict[str, tuple[int, int]]:
    """Series of which there is enough → the level at which it must stand at least, and at which it may at most.

    They differ within the hysteresis, where it depends on what was before. What must have lasted was judged minute by minute by
    what had come until then, so of that only the upper bound holds.
    """
    groups: dict[str, list[Fields]] = defaultdict(list)
    for e in window:
        groups[f"?region={e['region']}" if threshold.per_region else ""].append(e)
    found = {}
    for group, its in groups.items():
        numerator, denominator, sample = totals(indicator, its)
        if sample >= threshold.minimum_sample and denominator:
            value = numerator * (100 if threshold.is_ratio else 1) / denominator
            least = FINE if threshold.lasting else threshold.rank(value)
            found[indicator + group] = least, threshold.rank(value, threshold.hysteresis)
    return found


def _topic_of(statement: Event) -> str:
    return next(topic for topic, thresholds in THRESHOLDS.items() if statement["data"]["indicator_id"] in thresholds)
