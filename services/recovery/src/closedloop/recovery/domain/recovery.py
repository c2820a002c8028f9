"""One customer's recovery: from the first signal of dissatisfaction to its end.

The queue itself (who is next, nobody twice) is a question to the database: `store/claims.py`. Here stands what one held
recovery may become.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from closedloop.recovery.domain.contacts import Attempt, check_attempt
from closedloop.recovery.domain.rules import Rules
from closedloop.recovery.domain.segments import Segment

Status: TypeAlias = Literal["waiting", "claimed", "deferred", "closed"]
Outcome: TypeAlias = Literal["resolved", "not_resolved", "declined", "wrong_number", "unreached"]
DeferredFor: TypeAlias = Literal["next_attempt", "contact_limit"]


class NotAllowed(Exception):
    """The state does not allow the step. The text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """`deadline` is the promise for the first contact; `due_at` orders the queue (the deadline, later the next attempt's)."""

    recovery_id: UUID
    customer_id: str
    region: str
    segment: Segment
    status: Status
    dissatisfied_at: datetime
    deadline: datetime
    due_at: datetime
    version: int
    claim_number: int = 0
    held_by: str | None = None
    claimed_at: datetime | None = None
    lease_until: datetime | None = None
    available_at: datetime | None = None
    deferred_for: DeferredFor | None = None
    attempts: int = 0
    first_contact_at: datetime | None = None
    first_reached_at: datetime | None = None
    outcome: Outcome | None = None
    closed_at: datetime | None = None

    def holder(self, now: datetime) -> str | None:
        """Who holds it: an agent whose lease has run out does not."""
        return self.held_by if self.lease_until is not None and now < self.lease_until else None

    def heartbeat(self, agent: str, claim_number: int, now: datetime, rules: Rules) -> "Recovery":
        """A lease that begins anew. Raises NotAllowed where this claim is no longer held."""
        self._check_held(agent, claim_number, now)
        return replace(self, lease_until=now + rules.lease, version=self.version + 1)

    def release(self, agent: str, claim_number: int, now: datetime) -> "Recovery":
        """Back into the queue, at its old place. Raises NotAllowed where this claim is no longer held."""
        self._check_held(agent, claim_number, now)
        return replace(_let_go(self), status="waiting", version=self.version + 1)

    def record(self, attempt: Attempt, agent: str, now: datetime, rules: Rules) -> "Recovery":
        """What it is after a call: closed, or back in the queue for the next attempt.

        Also taken after the lease ran out, and after the end (the call took place): then it is counted and nothing else moves.
        Raises NotAllowed only where another agent holds it, AttemptRefused where the record contradicts itself.
        """
        holder = self.holder(now)
        if holder is not None and holder != agent:
            raise NotAllowed("Another agent holds this customer; their record will follow. Claim the next one.")
        check_attempt(attempt, self.dissatisfied_at, now, rules.next_attempt_within)
        counted = replace(
            self,
            attempts=self.attempts + 1,
            first_contact_at=_earliest(self.first_contact_at, attempt.at),
            first_reached_at=_earliest(self.first_reached_at, attempt.at) if attempt.reached else self.first_reached_at,
            version=self.version + 1,
        )
        if self.status == "closed":
            return counted
        outcome = _outcome(attempt, counted.attempts, rules)
        if outcome is not None:
            return replace(
                _let_go(counted), status="closed", outcome=outcome, closed_at=attempt.at, available_at=None, deferred_for=None
            )
        again = attempt.next_attempt_at or now + rules.retries[min(counted.attempts, len(rules.retries)) - 1]
        return replace(
            _let_go(counted),
            status="deferred",
            available_at=again,
            deferred_for="next_attempt",
            due_at=again + rules.follow_up_within,
        )

    def _check_held(self, agent: str, claim_number: int, now: datetime) -> None:
        if self.status == "closed":
            raise NotAllowed("This recovery is closed. Claim the next one.")
        if self.holder(now) != agent or self.claim_number != claim_number:
            raise NotAllowed("This claim has run out or was given up. Record the contact if there was one, then claim again.")


def _let_go(recovery: Recovery) -> Recovery:
    return replace(recovery, held_by=None, claimed_at=None, lease_until=None)


def _earliest(known: datetime | None, new: datetime) -> datetime:
    return new if known is None else min(known, new)


def _outcome(attempt: Attempt, attempts: int, rules: Rules) -> Outcome | None:
    match attempt.result:
        case "resolved" | "not_resolved" | "declined" | "wrong_number":
            return attempt.result
        case "follow_up":
            return None
        case _:
            # an agreed time is an answer of its own: the limit is for attempts by the default rule
            return "unreached" if attempts >= rules.max_attempts and attempt.next_attempt_at is None else None
