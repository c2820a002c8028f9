"""What shows from outside that a service had work in hand when it was hit, and that this work came again."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from closedloop.local.part import Part
from closedloop.local.stack import Stack
from faults import reading

Positions = dict[tuple[str, int], int]
SETTLES_S = 2.0


@dataclass(frozen=True)
class Frozen:
    """A process that outlived its session frozen, and woke. `in_hand`: (topic, partition) → the offsets from where its batch began
    to where another had read when it woke."""

    service: str
    in_hand: dict[tuple[str, int], range]


class Evidence:
    """Reads PostgreSQL's rows and locks, the end of topics and the services' logs."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def positions(self, name: str) -> Positions:
        """How far the service has read, by what is committed."""
        return _positions(self.query(f"SELECT topic, partition, next_offset FROM {name}.consumer_offset"))

    def unread(self, name: str) -> Positions:
        """Of these positions those after which records stand."""
        ends = reading.ends(self._stack.bootstrap, positions := self.positions(name))
        return {place: offset for place, offset in positions.items() if ends[place] > offset}

    def batch_in_hand(self, name: str) -> Positions:
        """Where the batch begins whose transaction is open: its partitions' rows are locked by the fence. Empty: there is none.

        The service must be unable to go on (frozen, or waiting for a frozen Kafka): what it asked PostgreSQL for last is over
        before anything is looked at, so a transaction that is open still can only be rolled back.
        """
        deadline = time.monotonic() + SETTLES_S
        busy = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closedloop-{name}' AND state = 'active'"
        while self.number(busy):
            if time.monotonic() > deadline:
                return {}
        return _positions(
            self.query(
                f"""WITH free AS MATERIALIZED (SELECT topic, partition FROM {name}.consumer_offset FOR UPDATE SKIP LOCKED)
                    SELECT topic, partition, next_offset FROM {name}.consumer_offset
                    WHERE (topic, partition) NOT IN (SELECT topic, partition FROM free)"""
            )
        )

    def has_passed(self, name: str, places: Positions) -> bool:
        """Whether the service has read on from all of these positions."""
        now = self.positions(name)
        return all(now[place] > offset for place, offset in places.items())

    def outbox(self, name: str) -> list[tuple[str, str]]:
        """(topic, event id) of what is to be said, the oldest first."""
        return [(row["topic"], row["id"]) for row in self.query(f"SELECT topic, id FROM {name}.outbox ORDER BY seq")]

    def number(self, query: str) -> int:
        """The one number that a query answers."""
        return int(self.query(query)[0][0] or 0)

    def query(self, query: str) -> list[asyncpg.Record]:
        """Rows, as the administrator sees them."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self._stack.admin_url)
            try:
                return await connection.fetch(query)
            finally:
                await connection.close()

        return asyncio.run(fetch())


class LogSince:
    """What a part logs from now on."""

    def __init__(self, part: Part) -> None:
        self._log = part.log
        self._start = part.log.stat().st_size if part.log.exists() else 0

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of this kind."""
        with self._log.open("rb") as log:
            log.seek(self._start)
            lines = [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"\n")]
        return [line for line in lines if line.get("event") == event]

    def restored(self) -> Positions:
        """From where the service read first."""
        [first, *_] = self.said("positions restored")
        return {(place.rpartition("/")[0], int(place.rpartition("/")[2])): offset for place, offset in first["positions"].items()}


def _positions(rows: list[asyncpg.Record]) -> Positions:
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """AssertionError where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)
