"""The consumer's use case: from events to the queue."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from closedloop.common.consumer import inbox
from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.inbox import Taken
from closedloop.common.consumer.rows import Received
from closedloop.common.outbox import store as outbox
from closedloop.common.postgres.pool import Connection
from closedloop.recovery import metrics, statements
from closedloop.recovery.domain.candidates import candidates_of
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.domain.signals import Signal, signal_of
from closedloop.recovery.store import intake as store
from closedloop.recovery.store.clock import Clock


class Intake:
    """`wake` tells the relay that something was committed that it can publish."""

    def __init__(self, rules: Rules, clock: Clock, wake: Callable[[], None]) -> None:
        self._rules = rules
        self._clock = clock
        self._wake = wake
        self._taken = Taken(())
        self._outcomes: Counter[str] = Counter()

    async def take(self, connection: Connection, received: Sequence[Received]) -> Sequence[Rejection]:
        """The signals of a batch into the queue, in the consumer's transaction. Nothing here is a reason to reject a record."""
        now = await self._clock(connection)
        self._taken = await inbox.take(connection, received, now)
        self._outcomes.clear()
        signals = [signal for one in self._taken.new if (signal := signal_of(one.event, one.at, self._rules.threshold))]
        if signals:
            await self._queue(connection, signals, now)
        return ()

    async def _queue(self, connection: Connection, signals: Sequence[Signal], now: datetime) -> None:
        late = [signal for signal in signals if signal.is_late(now, self._rules.late_after)]
        in_time = [signal for signal in signals if not signal.is_late(now, self._rules.late_after)]
        landed = await store.land(connection, candidates_of(in_time, self._rules), now) if in_time else []
        queued = [(signal, one.recovery_id) for one in landed for signal in one.candidate.signals]
        await store.keep(connection, [*queued, *((signal, None) for signal in late)], now)
        await outbox.put(connection, statements.queued(landed))
        opened = sum(one.opened for one in landed)
        self._outcomes = Counter(opened=opened, absorbed=len(in_time) - opened, late=len(late))

    def committed(self) -> None:
        """The batch was committed: count it, and let the relay publish."""
        for outcome, n in self._outcomes.items():
            metrics.SIGNALS.labels(outcome).inc(n)
        metrics.DUPLICATES.labels("same").inc(self._taken.same)
        metrics.DUPLICATES.labels("other").inc(self._taken.other)
        self._outcomes, self._taken = Counter(), Taken(())
        self._wake()
