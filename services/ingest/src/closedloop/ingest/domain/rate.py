"""How many events a client may send: a bucket that fills steadily and is emptied by what the client sends."""

from collections import OrderedDict
from typing import Final

MAX_CLIENTS: Final = 10_000


class Rates:
    """One bucket per client, in events. Times are monotonic seconds, given by the caller.

    A request is let in while the bucket is not in debt, and charged afterwards, when its events are counted. So a batch is never
    taken by halves, and a client is over its rate by one request at most.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until this client may send again; 0: now."""
        level = self._level(client, now)
        return 0.0 if level > 0 else (1 - level) / self._per_second

    def charge(self, client: str, events: int, now: float) -> None:
        """The client has sent so many events."""
        self._buckets[client] = (self._level(client, now) - events, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)

    def _level(self, client: str, now: float) -> float:
        level, at = self._buckets.get(client, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second)
