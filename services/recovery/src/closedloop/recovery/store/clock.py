"""What time it is: the database's word, or a test's."""

from collections.abc import Callable
from datetime import datetime

from closedloop.common.postgres.pool import Connection, Pool


class Clock:
    """`await clock(connection)` is the database's clock; with `fixed`, what that returns."""

    def __init__(self, fixed: Callable[[], datetime] | None = None) -> None:
        self._fixed = fixed

    async def __call__(self, connection: "Connection | Pool") -> datetime:
        if self._fixed is not None:
            return self._fixed()
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now

    def given(self) -> datetime | None:
        """The test's time, or None: a statement then reads the database's clock itself and saves the round trip."""
        return self._fixed() if self._fixed is not None else None
