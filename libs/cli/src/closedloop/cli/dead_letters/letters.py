"""Reading dead letters."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.cli.connections import administering
from closedloop.cli.problems import CommandFailed
from closedloop.common.events.topics import dead_letter_name
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import Record

ERROR_PREFIX: Final = "x-error-"
POLL_MS: Final = 1000
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: the record's bytes as they were, and what its `x-error-*` headers say."""

    topic: str
    partition: int
    offset: int
    at: datetime
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    error: Mapping[str, str]

    @property
    def stage(self) -> str:
        return self.error.get("stage", "unknown")

    @property
    def reason(self) -> str:
        return self.error.get("class", "unknown")

    @property
    def origin(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset that it came from; None where it does not say, or says what does not fit its topic."""
        topic, consumer = self.error.get("topic", ""), self.error.get("consumer", "")
        partition, offset = self.error.get("partition", ""), self.error.get("offset", "")
        if not (partition.isdigit() and offset.isdigit()) or dead_letter_name(topic, consumer) != self.topic:
            return None
        return topic, int(partition), int(offset)


class Copies:
    """Tells copies apart: a process that was frozen may deliver a letter once more. The first that is read counts.

    The same origin with other content is no copy, but a record of a topic that was deleted and made again.
    """

    def __init__(self) -> None:
        # 64 bits stand for a letter: of ten million, two are taken for copies once in 300,000 times
        self._seen: set[int] = set()
        self.count = 0

    def has(self, letter: Letter) -> bool:
        """Whether it is one more of a letter that was asked about before."""
        if letter.origin is None:
            return False
        known = len(self._seen)
        self._seen.add(hash((letter.origin, letter.key, letter.value)))
        is_copy = len(self._seen) == known
        self.count += is_copy
        return is_copy

    def sentence(self) -> str:
        """How many were passed over, for people."""
        return f"{self.count:,} passed over: copies of letters already counted, as a process that was frozen may write them."


Wanted = Callable[[Letter], bool]


def wanted(stage: str | None, reason: str | None) -> Wanted:
    """A filter by stage and reason, as `dlq list` names them."""
    return lambda letter: (stage is None or letter.stage == stage) and (reason is None or letter.reason == reason)


async def dead_letter_names(kafka: KafkaSettings) -> list[str]:
    """Every dead-letter topic that the cluster has."""
    async with administering(kafka) as admin:
        return sorted(name for name in await admin.list_topics() if name.endswith("-dlq"))


async def partitions_of(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, list[int]]:
    """The partitions of those topics that exist."""
    async with administering(kafka) as admin:
        described = await admin.describe_topics(list(topics)) if topics else []
    return {t["topic"]: sorted(p["partition"] for p in t["partitions"]) for t in described if t["error_code"] == 0}


async def extents(consumer: AIOKafkaConsumer, topic: str, partitions: Mapping[str, Sequence[int]]) -> dict[int, Span]:
    """Of each partition the oldest offset kept and the next one. CommandFailed where there is no such topic."""
    if topic not in partitions:
        raise CommandFailed(f"There is no topic {topic}; `closedloop dlq list` names those with dead letters.")
    held = [TopicPartition(topic, partition) for partition in partitions[topic]]
    first, last = await consumer.beginning_offsets(held), await consumer.end_offsets(held)
    return {tp.partition: (first[tp], last[tp]) for tp in held}


async def read(consumer: AIOKafkaConsumer, topic: str, spans: Mapping[int, Span]) -> AsyncIterator[Letter]:
    """The letters of these offsets; in order per partition."""
    ends = {TopicPartition(topic, partition): end for partition, (start, end) in spans.items() if start < end}
    consumer.assign(list(ends))
    for tp in ends:
        consumer.seek(tp, spans[tp.partition][0])
    unread = set(ends)
    while unread:
        polled = await consumer.getmany(*unread, timeout_ms=POLL_MS)
        for tp, records in polled.items():
            for record in records:
                if record.offset < ends[tp]:
                    yield letter_of(record)
        # the position passes what is no record too, such as a transaction's marker
        unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}


def letter_of(record: Record) -> Letter:
    """A consumed record as a letter."""
    error: dict[str, str] = {}
    headers: list[tuple[str, bytes]] = []
    for name, value in record.headers:
        if name.startswith(ERROR_PREFIX):
            error[name.removeprefix(ERROR_PREFIX)] = (value or b"").decode("utf-8", "replace")
        else:
            headers.append((name, value))
    return Letter(
        record.topic,
        record.partition,
        record.offset,
        datetime.fromtimestamp(record.timestamp / 1000, UTC),
        record.key,
        record.value,
        tuple(headers),
        error,
    )
