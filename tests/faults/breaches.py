"""What kpi says about breaches, compared with a plain recomputation. Imports nothing of the product."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from faults.indicators import Fields, fields, totals
from faults.traffic import INCIDENT_ORDERS, Event, topic_of


@dataclass(frozen=True)
class Threshold:
    """As shipped. `is_ratio`: in percent. `per_region`: else over all."""

    hours: int
    critical: float
    minimum_sample: int
    better: str = "lower"
    is_ratio: bool = True
    per_region: bool = True

    def is_worse(self, value: float) -> bool:
        """Whether the value is beyond what is critical."""
        return value > self.critical if self.better == "lower" else value < self.critical


THRESHOLDS = {
    "evaluations": {
        "dissatisfied_share": Threshold(1, 40, 30),
        "hotline_dissatisfied_share": Threshold(1, 35, 50, per_region=False),
    },
    "complaints": {
        "complaint_escalation_share": Threshold(24, 15, 50),
        "complaint_closed_unsatisfied_share": Threshold(24, 30, 30),
    },
    "orders": {
        "first_time_order_success_rate": Threshold(1, 80, 50, "higher"),
        "order_failure_rate": Threshold(1, 15, 50),
        "top_up_success_rate": Threshold(1, 90, 50, "higher", per_region=False),
        "timely_resumption_rate": Threshold(1, 95, 50, "higher"),
        "leased_line_fault_repair_time": Threshold(24, 8, 30, is_ratio=False),
    },
}
ALL = {indicator: threshold for of_topic in THRESHOLDS.values() for indicator, threshold in of_topic.items()}


def check_statements(statements: Iterable[Event]) -> dict[str, list[Event]]:
    """Each series breaches and recovers in turn, each at a later minute than before, and its own figures bear it out.

    Returns the statements of each series. `statements`: each id once, in the order of their first coming.
    """
    series: dict[str, list[Event]] = defaultdict(list)
    for event in statements:
        series[event["subject"]].append(event)
    for subject, its in series.items():
        kinds = [event["type"] for event in its]
        assert kinds == [("indicator.breached.v1", "indicator.recovered.v1")[turn % 2] for turn in range(len(its))], (
            subject,
            kinds,
        )
        minutes = [int(event["sequence"]) for event in its]
        assert minutes == sorted(set(minutes)), (subject, minutes)
        for event in its:
            _check_figures(event)
    return series


def _check_figures(event: Event) -> None:
    data = event["data"]
    threshold = ALL[data["indicator_id"]]
    start, end = (datetime.fromisoformat(data[name]) for name in ("window_start", "window_end"))
    assert end - start == timedelta(hours=threshold.hours), event
    assert datetime.fromisoformat(event["time"]) == end, event
    assert data["threshold"] == threshold.critical, event
    assert data["dimensions"].keys() == ({"region"} if threshold.per_region else set()), event
    if event["type"] == "indicator.breached.v1" or "value" in data:
        value = data["numerator"] / data["denominator"] * (100 if threshold.is_ratio else 1)
        assert abs(data["value"] - value) < 1e-6 * max(1, value), event
        assert data["sample"] >= threshold.minimum_sample, event
        assert threshold.is_worse(value) == (event["type"] == "indicator.breached.v1"), event


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
    """What stands breached at the minute up to which a topic is stated is what a plain recomputation finds breached then.

    `stated_until`: topic → minute since 1970, stated after all events were counted. Returns how many series stand breached and
    how many do not.
    """
    said = {}
    for event in statements:
        if int(event["sequence"]) <= stated_until[_topic_of(event)]:
            said[event["subject"]] = event["type"] == "indicator.breached.v1"
    by_topic: dict[str, list[tuple[datetime, Fields]]] = defaultdict(list)
    for event in good:
        by_topic[topic_of(event)].append((datetime.fromisoformat(event["time"]), fields(event)))
    found = {}
    for topic, thresholds in THRESHOLDS.items():
        end = datetime.fromtimestamp(stated_until[topic] * 60, UTC)
        for indicator, threshold in thresholds.items():
            window = [e for at, e in by_topic[topic] if end - timedelta(hours=threshold.hours) <= at < end]
            found |= dict(_breached(indicator, threshold, window))
    standing = {subject for subject, is_breached in said.items() if is_breached}
    expected = {subject for subject, is_breached in found.items() if is_breached}
    assert standing == expected, (sorted(standing - expected), sorted(expected - standing))
    return len(standing), sum(not is_breached for is_breached in found.values())


def _breached(indicator: str, threshold: Threshold, window: list[Fields]) -> Iterator[tuple[str, bool]]:
    groups: dict[str, list[Fields]] = defaultdict(list)
    for e in window:
        groups[f"?region={e['region']}" if threshold.per_region else ""].append(e)
    for group, its in groups.items():
        numerator, denominator, sample = totals(indicator, its)
        if sample >= threshold.minimum_sample and denominator:
            yield indicator + group, threshold.is_worse(numerator / denominator * (100 if threshold.is_ratio else 1))


def _topic_of(statement: Event) -> str:
    return next(topic for topic, thresholds in THRESHOLDS.items() if statement["data"]["indicator_id"] in thresholds)
