"""The consumer's use case: from events to the queue."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from closedloop.common.consumer.failures import Rejection
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
        self._outcomes: Counter[str] = Counter()

    async def take(self, connection: Connection, received: Sequence[Received]) -> Sequence[Rejection]:
        """The signals of a batch into the queue, in the consumer's transaction. Nothing here is a reason to reject a record."""
        found = [signal for one in received if (signal := signal_of(one.event, one.at, self._rules.threshold))]
        signals, contradictions = _distinct(found)
        self._outcomes = Counter(repeated=len(found) - len(signals), contradicting=contradictions)
        if signals:
            await self._keep(connection, signals, await self._clock(connection))
        return ()

    async def _keep(self, connection: Connection, signals: Sequence[Signal], now: datetime) -> None:
        late = [signal.is_late(now, self._rules.late_after) for signal in signals]
        kept = await store.keep(connection, signals, late, now)
        fresh = [
            (kept.ids[signal.key], signal)
            for signal, is_late in zip(signals, late, strict=True)
            if signal.key in kept.ids and not is_late
        ]
        landed = await store.land(connection, candidates_of(fresh, self._rules), now) if fresh else []
        await outbox.put(connection, statements.queued(landed))
        opened = sum(one.opened for one in landed)
        self._outcomes.update(
            opened=opened,
            absorbed=len(fresh) - opened,
            late=len(kept.ids) - len(fresh),
            repeated=len(signals) - len(kept.ids),
            contradicting=kept.contradictions,
        )

    def committed(self) -> None:
        """The batch was committed: count it, and let the relay publish."""
        for outcome, n in self._outcomes.items():
            metrics.SIGNALS.labels(outcome).inc(n)
        self._outcomes.clear()
        self._wake()


def _distinct(signals: Iterable[Signal]) -> tuple[list[Signal], int]:
    """The first of each id, and how many came again with other content."""
    first: dict[tuple[str, str], Signal] = {}
    contradictions = 0
    for signal in signals:
        known = first.setdefault(signal.key, signal)
        contradictions += known.fingerprint != signal.fingerprint
    return list(first.values()), contradictions
