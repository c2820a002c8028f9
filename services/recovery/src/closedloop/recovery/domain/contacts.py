"""What an agent records about one call: closed lists, and what must be said with what."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

Result: TypeAlias = Literal[
    "resolved",  # reached: made good
    "not_resolved",  # reached: could not be made good
    "declined",  # reached: does not want to talk about it
    "follow_up",  # reached: to be called again
    "no_answer",
    "busy",
    "switched_off",
    "wrong_number",
]
Reason: TypeAlias = Literal[
    "bill_wrong",
    "network_quality",
    "repair_slow",
    "handling_slow",
    "staff_attitude",
    "staff_competence",
    "process_complicated",
    "tariff_unclear",
    "promise_not_kept",
    "unwanted_contact",
    "product_defect",
    "other",
]
REACHED_RESULTS: Final = frozenset({"resolved", "not_resolved", "declined", "follow_up"})
UNREACHED_RESULTS: Final = frozenset(get_args(Result)) - REACHED_RESULTS
REASON_NEEDED: Final = frozenset({"resolved", "not_resolved"})
CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call. `at` is when it took place (not when it was recorded)."""

    at: datetime
    reached: bool
    result: Result
    reason: Reason | None = None
    note: str | None = None
    next_attempt_at: datetime | None = None


class AttemptRefused(ValueError):
    """What the agent said does not fit together. `field` is the body's field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def check_attempt(attempt: Attempt, dissatisfied_at: datetime, now: datetime, next_within: timedelta) -> None:
    """Raises AttemptRefused."""
    allowed = REACHED_RESULTS if attempt.reached else UNREACHED_RESULTS
    if attempt.result not in allowed:
        said = "was reached" if attempt.reached else "was not reached"
        raise AttemptRefused("result", f"of a customer who {said} must be one of {', '.join(sorted(allowed))}")
    if attempt.result in REASON_NEEDED and attempt.reason is None:
        raise AttemptRefused("reason", f"of the dissatisfaction is needed with the result {attempt.result}")
    if attempt.reason == "other" and not (attempt.note or "").strip():
        raise AttemptRefused("note", "must say the reason where it is `other`")
    if attempt.at > now + CLOCK_SKEW:
        raise AttemptRefused("contacted_at", "lies in the future; leave it out for now")
    if attempt.at < dissatisfied_at:
        raise AttemptRefused("contacted_at", "is before the customer's dissatisfaction; check its offset")
    if attempt.next_attempt_at is not None:
        if attempt.result in {"resolved", "not_resolved", "declined", "wrong_number"}:
            raise AttemptRefused("next_attempt_at", f"does not go with the result {attempt.result}, which ends the recovery")
        if not now < attempt.next_attempt_at <= now + next_within:
            raise AttemptRefused("next_attempt_at", f"must be in the future, at most {next_within.days} days ahead")
