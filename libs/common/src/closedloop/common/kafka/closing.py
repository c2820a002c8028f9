"""Closing what aiokafka leaves open."""

import asyncio
import contextlib
from typing import Final

from aiokafka.client import AIOKafkaClient

CLOSE_TIMEOUT_S: Final = 2.0


async def close_connections(client: AIOKafkaClient) -> None:
    """All of a client's, also one that was being opened when the client was closed: aiokafka forgets that one.

    Gives up after 2 s, as a connection to a frozen broker closes when that has read what was sent.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            async with client._get_conn_lock:
                pass
            await client.close()
