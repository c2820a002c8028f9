"""Publishing dead letters again, to where they came from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition

from closedloop.cli.connections import reading
from closedloop.cli.dead_letters.letters import Copies, Letter, Span, Wanted, extents, partitions_of, read
from closedloop.cli.dead_letters.marks import load_marks, save_marks
from closedloop.cli.dead_letters.spans import Spans
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message

CHUNK: Final = 200


@dataclass
class Plan:
    """What a replay of a topic will publish. `spans` are the offsets that it looks at: those that stood there when it was made."""

    topic: str
    spans: dict[int, Span]
    first: dict[int, int]
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    origins: set[str] = field(default_factory=set)
    without_origin: int = 0
    replayed_before: int = 0
    copies: Copies = field(default_factory=Copies)

    @property
    def count(self) -> int:
        return sum(self.reasons.values())


@dataclass(frozen=True)
class Selection:
    """Which letters of a topic are meant."""

    wanted: Wanted
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    again: bool = False

    def span(self, partition: int, extent: Span) -> Span | None:
        """The offsets of this partition to look at; `to_offset` is the last one."""
        if self.partition is not None and partition != self.partition:
            return None
        start = extent[0] if self.from_offset is None else max(extent[0], self.from_offset)
        end = extent[1] if self.to_offset is None else min(extent[1], self.to_offset + 1)
        return start, max(start, end)

    def is_done(self, letter: Letter, marks: Mapping[TopicPartition, Spans]) -> bool:
        """Whether it was replayed before and is left out for that."""
        return not self.again and is_replayed(letter, marks)


def is_replayed(letter: Letter, marks: Mapping[TopicPartition, Spans]) -> bool:
    """Whether it was replayed before, as far as Kafka remembers."""
    return letter.offset in marks.get(TopicPartition(letter.topic, letter.partition), ())


async def plan(kafka: KafkaSettings, topic: str, selection: Selection) -> Plan:
    """Look at the letters and count; publish nothing."""
    marks = await load_marks(kafka)
    async with reading(kafka, max_poll_records=CHUNK) as consumer:
        kept = await extents(consumer, topic, await partitions_of(kafka, [topic]))
        spans = {p: span for p, extent in kept.items() if (span := selection.span(p, extent)) is not None}
        found = Plan(topic, spans, {p: extent[0] for p, extent in kept.items()})
        async for letter in read(consumer, topic, spans):
            if not selection.wanted(letter) or found.copies.has(letter):
                continue
            if selection.is_done(letter, marks):
                found.replayed_before += 1
            elif letter.origin is None:
                found.without_origin += 1
            else:
                found.reasons[letter.stage, letter.reason] += 1
                found.origins.add(letter.origin[0])
    return found


async def replay(kafka: KafkaSettings, planned: Plan, selection: Selection) -> int:
    """Publish what was planned, bytes, key and headers as they were; the number published.

    Each goes to the partition that it came from: there its duplicates are known, whatever partitioner its producer had. After
    each chunk it is marked as replayed, and so are its copies; a crash in between publishes a chunk twice, which consumers
    count once.
    """
    marks = await load_marks(kafka)
    sink = KafkaSink(kafka, "closedloop-cli")
    chunk: list[Letter] = []
    copies = Copies()
    copied: list[Letter] = []
    done = 0
    try:
        async with reading(kafka, max_poll_records=CHUNK) as consumer:
            async for letter in read(consumer, planned.topic, planned.spans):
                if letter.origin is None or not selection.wanted(letter):
                    continue
                if copies.has(letter):
                    copied.append(letter)
                elif not selection.is_done(letter, marks):
                    chunk.append(letter)
                if len(chunk) + len(copied) >= CHUNK:
                    done += await _publish(kafka, sink, chunk, copied, marks, planned)
                    chunk, copied = [], []
        done += await _publish(kafka, sink, chunk, copied, marks, planned)
    finally:
        await sink.stop()
    return done


async def _publish(
    kafka: KafkaSettings,
    sink: KafkaSink,
    chunk: list[Letter],
    copied: list[Letter],
    marks: dict[TopicPartition, Spans],
    planned: Plan,
) -> int:
    await sink.publish([message_of(letter) for letter in chunk])
    moved = {TopicPartition(letter.topic, letter.partition) for letter in (*chunk, *copied)}
    for letter in (*chunk, *copied):
        marks.setdefault(TopicPartition(letter.topic, letter.partition), Spans()).add(letter.offset, letter.offset + 1)
    if moved:
        await save_marks(kafka, {tp: marks[tp] for tp in moved}, {tp: planned.first[tp.partition] for tp in moved})
    return len(chunk)


def message_of(letter: Letter) -> Message:
    """The record as it was before it became a dead letter."""
    if letter.origin is None:
        raise ValueError("a letter without an origin cannot be replayed")
    topic, partition, _ = letter.origin
    return Message(topic, letter.key, letter.value, letter.headers, partition)
