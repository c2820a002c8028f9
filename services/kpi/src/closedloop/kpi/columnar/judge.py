"""The common decoder's and rules' word on single records: the truth where no proof over columns was found."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from closedloop.common.consumer.failures import Rejection
from closedloop.common.consumer.rows import receive, rejection_of
from closedloop.common.events.rules import Refused
from closedloop.common.kafka.source import Record

MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Judge:
    """Event and time of a record, or a refusal. Rows count from 0."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.refused: dict[int, Rejection] = {}
        self.times: dict[int, int] = {}

    def event(self, row: int) -> Any:
        """The record's event, or None where it is refused."""
        try:
            received = receive(self.records[row])
        except Refused as refused:
            self.refused[row] = rejection_of(self.records[row], refused)
            return None
        self.times[row] = (received.at - EPOCH) // MICROSECOND
        return received.event

    def refuse_late(self, rows: Sequence[int], retention: timedelta) -> None:
        """These are older than what is kept; unless there is a worse reason already."""
        message = f"time: is more than {retention.days} days before the time of receipt; such days are no longer kept"
        for row in rows:
            self.refused.setdefault(row, Rejection(self.records[row], "late", "time", message))
