"""Where partitions end at this moment, asked of the broker: of all partitions, whoever reads them."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.source import stop_consumer

ASK_TIMEOUT_MS: Final = 2_000
"""aiokafka's own limit, for each step: a limit from outside would leave its connection open while it starts."""


class EndOffsets:
    """Asks on a connection of its own: on a reader's, an answer waits behind the fetch that waits for records.

    One question at a time; several jobs may ask. Connects when first asked, and anew after a failure.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._options: dict[str, Any] = dict(
            **kafka.client_options(),
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=ASK_TIMEOUT_MS,
        )
        self._consumer: AIOKafkaConsumer | None = None
        self._asking = asyncio.Lock()

    async def ask(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last record that a reader can be given now. Raises KafkaError, within seconds."""
        async with self._asking:
            try:
                if self._consumer is None:
                    self._consumer = AIOKafkaConsumer(**self._options)
                    await self._consumer.start()
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
            except BaseException:
                await self.stop()
                raise
        return ends

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await stop_consumer(consumer)
