"""The records of many requests on their way into one round: per partition an open record batch, and the full ones before it."""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Final

from closedloop.ingest.domain.acceptance import Records
from closedloop.ingest.partitions import places_by_partition
from closedloop.ingest.record_batch import NO_CODEC, RecordBatch

BATCH_BYTES: Final = 900_000
"""Before compression, so that a batch stays below the topic's limit even where it cannot be compressed."""
SMALL_BYTES: Final = 4096
"""Smaller batches are not compressed: to begin costs zstd 25 µs, and one event hardly gets smaller."""
AT_ONCE: Final = 500
"""Records that go into their batches together: with more, they are no longer in the processor's cache when their turn comes."""


class Round:
    """What is sent, and acknowledged, together. `partitions`: how many each topic has, kept up to date by its owner."""

    def __init__(self, codec: int, partitions: Mapping[str, int]) -> None:
        self._codec = codec
        self._partitions = partitions
        self._listed: dict[str, Records] = {}
        self._batches: dict[str, list[list[RecordBatch]]] = {}
        self.counts: dict[str, int] = {}
        """Events by topic."""
        self.events = 0
        self.bytes = 0
        self.waiters: list[asyncio.Future[None]] = []

    def add(self, topic: str, records: Records) -> None:
        """Take these records."""
        self.counts[topic] = self.counts.get(topic, 0) + len(records)
        self.events += len(records)
        listed = self._listed.setdefault(topic, Records())
        listed.extend(records)
        if len(listed) >= AT_ONCE:
            self._put_into_batches(topic, self._listed.pop(topic))

    def batches(self) -> Iterator[tuple[str, int, RecordBatch]]:
        """(topic, partition, batch): the n-th batch of every partition before the next one of any, as a partition takes one at
        a time."""
        for topic, of_topic in self._batches.items():
            for turn in zip_longest(*of_topic):
                for partition, batch in enumerate(turn):
                    if batch is not None:
                        yield topic, partition, batch

    def close(self) -> None:
        """No more records are taken: what was listed goes into batches."""
        for topic, listed in self._listed.items():
            self._put_into_batches(topic, listed)
        self._listed.clear()

    def compress(self) -> None:
        """Build all batches; on a thread, where there is much of it."""
        for _, _, batch in self.batches():
            batch.compress()

    def _put_into_batches(self, topic: str, records: Records) -> None:
        size = sum(map(len, records.values))
        self.bytes += size
        mean = size / len(records)
        of_topic = self._batches.setdefault(topic, [])
        partitions = self._partitions[topic]
        of_topic.extend([] for _ in range(partitions - len(of_topic)))  # a topic may get more while the process runs
        for batches, all_places in zip(of_topic, places_by_partition(records.keys, partitions), strict=False):
            places = all_places
            while places:
                if not batches or batches[-1].closed():
                    codec = self._codec if mean * len(places) > SMALL_BYTES else NO_CODEC
                    batches.append(RecordBatch(BATCH_BYTES, codec))
                places = places[batches[-1].fill(records, places) :]
