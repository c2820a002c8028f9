"""What is read again from a topic says whether the topic still has it all."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndTimestamp

from closedloop.kpi.replay import oldest_kept

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
FIRST, SECOND = TopicPartition("evaluations", 0), TopicPartition("evaluations", 1)


def at(offset: int, hours: float) -> OffsetAndTimestamp:
    return OffsetAndTimestamp(offset, ms(SINCE + timedelta(hours=hours)))


def ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


@pytest.mark.parametrize(
    ("found", "beginnings", "hours"),
    [
        ({FIRST: at(0, 5), SECOND: at(0, 6)}, {FIRST: 0, SECOND: 0}, None),  # nothing ever went
        ({FIRST: at(70, 1), SECOND: at(80, 2)}, {FIRST: 30, SECOND: 40}, None),  # what went is older
        ({FIRST: at(30, 0), SECOND: at(80, 2)}, {FIRST: 30, SECOND: 40}, None),  # the very first of the month is there
        ({FIRST: at(30, 100), SECOND: at(40, 120)}, {FIRST: 30, SECOND: 40}, 120),  # whole from the later one on
        ({FIRST: at(30, 100), SECOND: None}, {FIRST: 30, SECOND: 40}, 100),
        ({FIRST: None, SECOND: None}, {FIRST: 30, SECOND: 40}, None),  # nothing of the month was ever there to go, or all is gone
    ],
)
def test_what_the_topic_has_let_go_of_is_told(
    found: dict[TopicPartition, OffsetAndTimestamp | None], beginnings: dict[TopicPartition, int], hours: float | None
) -> None:
    told = oldest_kept(found, beginnings, ms(SINCE))
    assert told == (None if hours is None else SINCE + timedelta(hours=hours))
