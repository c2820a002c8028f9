"""What was polled: per partition, the position before and the records up to the next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition

from closedloop.common.kafka.source import Record


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive records of one partition; `start` is the position before them (offsets may have gaps)."""

    partition: TopicPartition
    start: int
    records: Sequence[Record]

    @property
    def end(self) -> int:
        """The position after these records."""
        return int(self.records[-1].offset) + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction's worth of records."""

    slices: tuple[Slice, ...]

    def __len__(self) -> int:
        return sum(len(part.records) for part in self.slices)

    def records(self) -> Iterator[Record]:
        """All records, partition by partition in order."""
        for part in self.slices:
            yield from part.records

    def ends(self) -> dict[TopicPartition, int]:
        """The position of each partition after this batch."""
        return {part.partition: part.end for part in self.slices}

    def halves(self) -> tuple["Batch", "Batch"]:
        """Two batches of about the same size, to be applied one after the other. Needs at least two records."""
        middle = len(self) // 2
        first: list[Slice] = []
        second: list[Slice] = []
        for part in self.slices:
            cut = max(0, min(middle, len(part.records)))
            middle -= cut
            if cut:
                first.append(Slice(part.partition, part.start, part.records[:cut]))
            if cut < len(part.records):
                start = first[-1].end if cut else part.start
                second.append(Slice(part.partition, start, part.records[cut:]))
        return Batch(tuple(first)), Batch(tuple(second))
