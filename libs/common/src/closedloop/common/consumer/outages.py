"""Waiting for Kafka and PostgreSQL to come back: for ever, but no longer than until the consumer is stopped."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import structlog
from aiokafka.errors import KafkaError

from closedloop.common.consumer.failures import Kind, PositionRefused, classify
from closedloop.common.consumer.watchdog import Watchdog
from closedloop.common.postgres.refusals import refusal

log = structlog.get_logger()
BACKOFF_MAX_S: Final = 10.0
INTERRUPTED_S: Final = 2.0


class Action(Protocol):
    """An awaitable step with a name for the log."""

    __name__: str

    def __call__(self) -> Coroutine[None, None, None]:
        """Do it, or raise."""


class Outages:
    """`stop` ends every wait; `because` says what is waited for, as far as that can be told. The watchdog hears of waits, which
    explain why nothing is applied, and of their end."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._stopping = asyncio.Event()
        self.is_waiting = False
        self.because: str | None = None

    @property
    def is_stopping(self) -> bool:
        """`stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopping.set()

    def over(self) -> None:
        """Something worked."""
        self.is_waiting, self.because = False, None
        self._watchdog.progress()

    async def wait(self, what: str, error: Exception, attempt: int) -> bool:
        """Back off. False: stopped meanwhile."""
        self.is_waiting = True
        delay = min(BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)  # noqa: S311 (jitter)
        # what Kafka's client says names servers and topics, never data; PostgreSQL's may quote a row
        self.because = str(error.args[0]) if isinstance(error, KafkaError) and error.args else refusal(error)
        log.warning("waiting", during=what, error=type(error).__name__, said=self.because, attempt=attempt, seconds=round(delay, 1))
        self._watchdog.progress()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)
        return not self.is_stopping

    async def outlast(self, action: Action) -> None:
        """Repeat `action` until it succeeds or `stop`, which does not wait for it. Raises PositionRefused, and bugs."""
        attempt = 0
        while not self.is_stopping:
            try:
                await self.until_stop(action)
                self.over()
                return
            except PositionRefused:
                raise
            except Exception as error:
                # here is no record to isolate: what Kafka refuses (a setting of the group's) is said and waited for, too
                if classify(error) is Kind.BUG and not isinstance(error, KafkaError):
                    raise
                attempt += 1
                await self.wait(action.__name__, error, attempt)

    async def until_stop(self, action: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run `action`, but no longer than until `stop`."""
        acting = asyncio.ensure_future(action())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([acting, stopping], return_when=asyncio.FIRST_COMPLETED)
            interrupted = not acting.done()
        finally:
            stopping.cancel()
            acting.cancel()
        if interrupted:
            await asyncio.wait([acting], timeout=INTERRUPTED_S)
        elif acting.cancelled():
            raise KafkaError("the client's own task was cancelled")
        else:
            acting.result()
