"""Events that move every indicator of the shipped catalogue: the examples of its own test, filled up to whole events."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from closedloop.common.events.topics import TOPIC_OF_TYPE, TYPE_BY_NAME, data_type
from closedloop.common.kafka.sink import Message
from kpi.records import encoded, envelope
from kpi.shipped import SHIPPED
from kpi.test_catalogue_shipped import EXAMPLES

REGION = "NJ"
_FILLED = {"region": REGION, "regions": [REGION], "topic_path": "top_up/unionpay_not_credited", "priority": 3}


def messages(at: str, name: str) -> Iterator[Message]:
    """For Kafka: at least as many events as each indicator's threshold wants. `at` is RFC 3339, `name` makes their ids unique.
    Those of another `at` go to the same partitions, so that event time passes there."""
    for indicator in SHIPPED.from_events:
        events, (_, _, sample, _) = EXAMPLES[indicator.id]
        wanted = indicator.threshold.minimum_sample if indicator.threshold is not None else 1
        for number in range(-(-wanted // int(sample))):
            for place, event in enumerate(events):
                yield _message(event, at, name, f"{indicator.id}-{number}-{place}")


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
        field.name: given.get(field.name, get_args(hint)[0] if get_origin(hint) is Literal else subject)
        for field in msgspec.structs.fields(data_cls)
        if (hint := hints[field.name]) and (field.required or field.name in event)
    }
    key = data[topic.key.replace(" ", "_")]
    return Message(topic.name, key.encode(), encoded(envelope(data, event["type"], id=f"{name}-{subject}", time=at)))
