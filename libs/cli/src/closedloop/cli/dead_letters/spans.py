"""Which offsets of a partition were replayed: a set of spans, small enough for the metadata of a committed offset."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

METADATA_MAX_CHARS: Final = 4000
"""Kafka's own limit (offset.metadata.max.bytes) is 4096."""


class Spans:
    """A set of offsets, kept as disjoint half-open spans in order."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def __contains__(self, offset: int) -> bool:
        after = bisect_right(self._spans, offset, key=lambda span: span[0])
        return after > 0 and offset < self._spans[after - 1][1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._spans)

    def add(self, start: int, end: int) -> None:
        """Add the offsets from `start` to before `end`."""
        if start >= end:
            return
        if not self._spans or start > self._spans[-1][1]:
            self._spans.append((start, end))
            return
        apart = [span for span in self._spans if span[1] < start or span[0] > end]
        touching = [span for span in self._spans if span[1] >= start and span[0] <= end]
        merged = (min([start, *(s for s, _ in touching)]), max([end, *(e for _, e in touching)]))
        self._spans = sorted([*apart, merged])

    def count(self, start: int, end: int) -> int:
        """How many offsets from `start` to before `end` are in the set."""
        return sum(max(0, min(e, end) - max(s, start)) for s, e in self._spans)

    def to_commit(self, first: int) -> tuple[int, str]:
        """(offset before which everything is in the set, the rest as text). `first`: the oldest offset kept.

        Where the text would be too long for Kafka its end is left out: those are then replayed again, which is harmless.
        """
        position = next((end for start, end in self._spans if start <= first < end), first)
        words: list[str] = []
        length = 0
        for start, end in self._spans:
            if start < position:
                continue
            word = f"{start}-{end - 1}" if end - start > 1 else f"{start}"
            length += len(word) + 1
            if length > METADATA_MAX_CHARS:
                break
            words.append(word)
        return position, ",".join(words)

    @classmethod
    def from_commit(cls, position: int, metadata: str) -> "Spans":
        """What `to_commit` gave. Text that is not ours counts for nothing."""
        found = cls()
        found.add(0, position)
        for word in metadata.split(","):
            start, _, end = word.partition("-")
            if start.isdigit() and (end or start).isdigit():
                found.add(int(start), int(end or start) + 1)
        return found
