"""A bad deployment must not drain a topic into the dead letters: too many rejections stop the consumer."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

IN_A_ROW: Final = 100
SHARE_OF_A_MINUTE: Final = 0.05
MINUTE_S: Final = 60.0
SUSPENDED_S: Final = 15 * 60.0


@dataclass
class Brake:
    """Judges a batch before it is committed and counts it afterwards. Monotonic seconds come from `clock`."""

    in_a_row: int = IN_A_ROW
    share: float = SHARE_OF_A_MINUTE
    clock: Callable[[], float] = time.monotonic
    _run: int = 0
    _minute: deque[tuple[float, int, int]] = field(default_factory=deque)
    _suspended_until: float = float("-inf")

    def check(self, outcomes: "list[bool]") -> str | None:
        """The outcomes of the next records in order (True: rejected) → why to stop, or None. Counts nothing.

        The share counts only from as many rejections as would be too many in a row: one of ten is no bad deployment.
        """
        now = self.clock()
        if now < self._suspended_until:
            return None
        run, longest = self._run, 0
        for rejected in outcomes:
            run = run + 1 if rejected else 0
            longest = max(longest, run)
        if longest >= self.in_a_row:
            return f"{self.in_a_row} records in a row were rejected"
        while self._minute and self._minute[0][0] < now - MINUTE_S:
            self._minute.popleft()
        rejected_total = sum(outcomes) + sum(entry[1] for entry in self._minute)
        total = len(outcomes) + sum(entry[2] for entry in self._minute)
        if rejected_total >= self.in_a_row and rejected_total > self.share * total:
            return f"{rejected_total} of {total} records within a minute were rejected (limit {self.share:.0%})"
        return None

    def count(self, outcomes: "list[bool]") -> None:
        """These were committed. A batch that is tried again during an outage is counted once."""
        for rejected in outcomes:
            self._run = self._run + 1 if rejected else 0
        self._minute.append((self.clock(), sum(outcomes), len(outcomes)))

    def suspend(self) -> None:
        """An operator looked and wants the rejections to go through: no braking for 15 minutes."""
        self._run = 0
        self._minute.clear()
        self._suspended_until = self.clock() + SUSPENDED_S
