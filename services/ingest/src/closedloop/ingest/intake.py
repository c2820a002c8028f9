"""The use case: check the events of one request, write the good ones, and answer only when Kafka has them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from closedloop.common.auth.principal import Principal
from closedloop.common.events.rules import Refused
from closedloop.common.http.problems import TooLarge, Unavailable
from closedloop.ingest import metrics
from closedloop.ingest.domain.acceptance import Foreign, Limits, Read, Sorted, TooBig, sort_out
from closedloop.ingest.group_commit import GroupCommit, NotAcknowledged, Overloaded
from closedloop.ingest.settings import IngestSettings

AT_ONCE: Final = 250
"""Events that are checked together: with more, their objects do not stay in the processor's cache."""
IN_A_ROW: Final = 1_000
"""Events that are checked before other requests get their turn on the event loop: some 4 ms."""


class Intake:
    """Takes the events of requests."""

    def __init__(self, commit: GroupCommit, settings: IngestSettings) -> None:
        self._commit = commit
        self._settings = settings

    async def take(
        self, items: Sequence[bytes], read: Read, principal: Principal, traceparent: bytes | None, now: datetime | None = None
    ) -> Sorted:
        """Write what can be taken. When this returns, Kafka has acknowledged it. Raises TooLarge, Unavailable."""
        settings = self._settings
        if len(items) > settings.max_batch_events:
            raise TooLarge(f"The request holds {len(items)} events; the limit is {settings.max_batch_events}. Send several.")
        limits = Limits(principal.regions, now or datetime.now(UTC), settings.max_event_bytes)
        done = Sorted()
        for first in range(0, len(items), AT_ONCE):
            if first and first % IN_A_ROW == 0:
                await asyncio.sleep(0)
            sort_out(items[first : first + AT_ONCE], read, limits, traceparent, done, first)
        if done.records:
            await self._write(done)
        for _, refused in done.refused:
            metrics.REJECTED.labels(reason_of(refused)).inc()
        return done

    async def _write(self, done: Sorted) -> None:
        try:
            await self._commit.commit(done.records)
        except Overloaded:
            raise Unavailable(
                f"{self._settings.max_unacknowledged_events} events wait for Kafka already, which is the limit. "
                "Nothing of this request was written; send it again.",
                self._settings.retry_after_s,
            ) from None
        except NotAcknowledged:
            raise Unavailable(
                "Kafka did not acknowledge in time. Some of the events may have been written; send the same request again: "
                "events with the same source and id count once.",
                self._settings.retry_after_s,
            ) from None


def reason_of(refused: Refused) -> str:
    """The class of a refusal, of a bounded set, for metrics."""
    if isinstance(refused, Foreign):
        return "region"
    if isinstance(refused, TooBig):
        return "size"
    if not refused.field:
        return "malformed"
    if refused.field in ("time", "occurred_at"):
        return "time"
    if refused.field == "type":
        return "type"
    return "missing" if refused.problem.startswith("is missing") else "invalid"
