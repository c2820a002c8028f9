"""Events that move every indicator of the shipped catalogue: the examples of its own test, filled up to whole events."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from closedloop.common.events.model import EvaluationData
from closedloop.common.events.topics import TOPIC_OF_TYPE, TYPE_BY_NAME, data_type
from closedloop.common.kafka.sink import Message
from closedloop.kpi.domain.catalogue import Granularity, ReportedIndicator
from closedloop.kpi.domain.report import MINIMUM_EVENTS
from kpi.records import encoded, envelope
from kpi.shipped import SHIPPED
from kpi.test_catalogue_shipped import EXAMPLES

REGION = "NJ"
_FILLED: dict[str, Any] = {"region": REGION, "regions": [REGION], "topic_path": "top_up/unionpay_not_credited", "priority": 3}


def messages(at: str, name: str) -> Iterator[Message]:
    """For Kafka: at least as many events as each indicator's threshold, or a period's figure, wants. `at` is RFC 3339,
    `name` makes their ids unique.
    Those of another `at` go to the same partitions, so that event time passes there."""
    for indicator in SHIPPED.from_events:
        events, (_, _, sample, _) = EXAMPLES[indicator.id]
        wanted = indicator.threshold.minimum_sample if indicator.threshold is not None else MINIMUM_EVENTS
        for number in range(-(-wanted // int(sample))):
            for place, event in enumerate(events):
                yield _message(event, at, name, f"{indicator.id}-{number}-{place}")


def reports(today: date) -> Iterator[tuple[str, dict[str, Any]]]:
    """(indicator, row): of every indicator that is reported, its figures of a period that is judged now."""
    for indicator in SHIPPED.indicators:
        if isinstance(indicator, ReportedIndicator):
            row = {"numerator": 100, "denominator": 100, "value": indicator.target or 0}
            figures = {name: row[name] for name in indicator.quantities}
            yield indicator.id, {"period": _last(indicator.granularity, today), "file": "drill.csv"} | figures


def _last(granularity: Granularity, today: date) -> str:
    if granularity == "day":  # which are judged by their month
        return (today.replace(day=1) - timedelta(days=1)).isoformat()
    if granularity == "year":
        return str(today.year - 1)
    if granularity == "quarter":
        number = today.year * 4 + (today.month - 1) // 3 - 1
        return f"{number // 4}-Q{number % 4 + 1}"
    return (today.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")


def past_messages(now: datetime) -> Iterator[Message]:
    """For Kafka, before those of now: on each day that a control chart looks back on, and on the one that it judges, what differs
    from the day before. Where nothing ever differs a chart has no limits."""
    for indicator in SHIPPED.from_events:
        control = indicator.control
        if control is not None and control.period == "day":
            for ago in range(control.baseline + 1, 0, -1):
                at = (now - timedelta(days=ago)).isoformat()
                for place, event in enumerate(EXAMPLES[indicator.id][0]):
                    halved = {name: value / (1 + ago % 2) for name in ("duration_s", "score") if (value := event.get(name))}
                    yield _message(event | halved, at, f"{ago}-days-ago", f"{indicator.id}-0-{place}")


def _message(event: dict[str, Any], at: str, name: str, subject: str) -> Message:
    cls = TYPE_BY_NAME[event["type"]]
    topic, data_cls = TOPIC_OF_TYPE[cls], data_type(cls)
    hints = get_type_hints(data_cls)
    given = _FILLED | {"deadline": at} | {field: value for field, value in event.items() if value is not None}
    data = {
        field.name: given.get(field.name, _filler(hint, subject))
        for field in msgspec.structs.fields(data_cls)
        if (hint := hints[field.name]) and (field.required or field.name in event)
    }
    if data_cls is EvaluationData and "score" not in data:
        data.setdefault("satisfied", True)  # one of both must be there
    key = data[topic.key.replace(" ", "_")]
    return Message(topic.name, key.encode(), encoded(envelope(data, event["type"], id=f"{name}-{subject}", time=at)))


def _filler(hint: Any, subject: str) -> Any:
    """What a required field says that no formula looks at."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    return None if type(None) in get_args(hint) else subject
