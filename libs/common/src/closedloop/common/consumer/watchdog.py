"""Notices a consumer that is stuck while records wait: aiokafka has no health signal of its own (#1154)."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from closedloop.common.kafka.source import KafkaSource

log = structlog.get_logger()
STUCK_AFTER_S: Final = 90.0
ASK_EVERY_S: Final = 30.0


class Watchdog:
    """`alive` turns False when records have stood unread for 90 s and nothing was applied; /livez tells it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._progress_at = clock()
        self._asked_at = clock()
        self._unread = False

    def progress(self) -> None:
        """Something was applied, or an outage explains why nothing is."""
        self._progress_at = self._clock()
        self._unread = False

    @property
    def alive(self) -> bool:
        """False: restart this process."""
        return not (self._unread and self._clock() - self._progress_at > STUCK_AFTER_S)

    async def check(self, source: KafkaSource, positions: Mapping[TopicPartition, int]) -> None:
        """Called when a poll brought nothing: ask the broker now and then whether that is true."""
        now = self._clock()
        if now - self._asked_at < ASK_EVERY_S:
            return
        self._asked_at = now
        try:
            ends = await source.ends(list(positions))
        except (KafkaError, TimeoutError):
            self.progress()
            return
        behind = [tp for tp, position in positions.items() if tp in ends and ends[tp][1] > position]
        if behind:
            self._unread = True
            log.warning("nothing polled though records stand unread", partitions=[f"{t.topic}/{t.partition}" for t in behind])
        else:
            self.progress()
