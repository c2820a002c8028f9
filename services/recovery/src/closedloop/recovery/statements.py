"""What the service tells others: recovery.queued, recovery.contacted, recovery.closed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from closedloop.common.events.model import AnyEvent, RecoveryClosed, RecoveryContacted, RecoveryData, RecoveryQueued
from closedloop.common.outbox.store import Outgoing, own_event
from closedloop.recovery.domain.contacts import Attempt
from closedloop.recovery.domain.recovery import Recovery
from closedloop.recovery.store.intake import Landed
from closedloop.recovery.store.recoveries import Details

SOURCE: Final = "/closedloop/recovery"


def queued(landed: Sequence[Landed]) -> list[Outgoing]:
    """One for each recovery that was opened, at the event time of the dissatisfaction: a replay says the same."""
    return [
        _outgoing(
            RecoveryQueued,
            one.version,
            one.candidate.dissatisfied_at,
            RecoveryData(
                recovery_id=str(one.recovery_id),
                customer_id=one.candidate.first.customer_id,
                region=one.candidate.first.region,
                deadline=_text(one.deadline),
                segment=one.candidate.segment,
                customer_class=one.candidate.first.customer_class,
                product=one.candidate.first.product,
                process=one.candidate.first.process,
                channel=one.candidate.first.channel,
            ),
            cause=one.candidate.first.event,
        )
        for one in landed
        if one.opened
    ]


def contacted(before: Recovery, after: Recovery, details: Details, attempt: Attempt, agent: str) -> list[Outgoing]:
    """The call; and the end, where this call is it. `seconds_to_first_contact` stands with the first attempt only."""
    first = after.attempts == 1
    data = RecoveryData(
        recovery_id=str(after.recovery_id),
        customer_id=after.customer_id,
        region=after.region,
        deadline=_text(after.deadline),
        segment=after.segment,
        customer_class=details.customer_class,  # type: ignore[arg-type]  # it came from an event
        product=details.product,
        process=details.process,
        channel=details.channel,
        reached=attempt.reached,
        result=attempt.result,
        reason=attempt.reason,
        attempt=after.attempts,
        seconds_to_first_contact=(attempt.at - after.dissatisfied_at).total_seconds() if first else None,
        agent_id=agent,
    )
    said = [_outgoing(RecoveryContacted, before.version + 1, attempt.at, data)]
    if after.status == "closed" and before.status != "closed":
        said.append(_outgoing(RecoveryClosed, before.version + 2, attempt.at, _with_outcome(data, after)))
    return said


def _with_outcome(data: RecoveryData, after: Recovery) -> RecoveryData:
    fields: dict[str, Any] = {name: getattr(data, name) for name in data.__struct_fields__}
    return RecoveryData(**{**fields, "result": after.outcome, "reached": after.first_reached_at is not None})


def _outgoing(cls: type[Any], version: int, at: datetime, data: RecoveryData, cause: AnyEvent | None = None) -> Outgoing:
    event = own_event(
        cls,
        id=f"{data.recovery_id}/{version}",
        source=SOURCE,
        at=at,
        subject=data.recovery_id,
        sequence=version,
        data=data,
        cause=cause,
    )
    return Outgoing(data.customer_id, event)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
