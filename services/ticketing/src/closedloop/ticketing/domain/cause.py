"""What a ticket is about. One open ticket per cause, whatever the trigger."""

from collections.abc import Mapping
from dataclasses import dataclass

TOPIC = "topic:"
INDICATOR = "indicator:"
COMPLAINT = "complaint:"


@dataclass(frozen=True)
class Cause:
    """`name` is the whole cause as text: two causes are the same where their names are."""

    name: str
    topic_path: str | None = None
    indicator_id: str | None = None


def of_topic(topic_path: str) -> Cause:
    """All complaints and enquiries on one subject."""
    return Cause(TOPIC + topic_path, topic_path=topic_path)


def of_indicator(indicator_id: str, dimensions: Mapping[str, str]) -> Cause:
    """One indicator in one group of its dimensions, such as indicator:first_contact{channel=app,region=NJ}."""
    group = ",".join(f"{name}={value}" for name, value in sorted(dimensions.items()))
    return Cause(f"{INDICATOR}{indicator_id}{{{group}}}" if group else INDICATOR + indicator_id, indicator_id=indicator_id)


def of_complaint(complaint_id: str) -> Cause:
    """A complaint whose subject nobody told."""
    return Cause(COMPLAINT + complaint_id)


def of_name(name: str) -> Cause:
    """The cause that staff name by hand: topic:…, indicator:…, or any other word before a colon."""
    if name.startswith(TOPIC):
        return of_topic(name.removeprefix(TOPIC))
    if name.startswith(INDICATOR):
        return Cause(name, indicator_id=name.removeprefix(INDICATOR).partition("{")[0])
    return Cause(name)
