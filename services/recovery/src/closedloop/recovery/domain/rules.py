"""The figures that the operator sets. One value object, so that a rule names all it depends on."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class ContactLimit:
    """At most `at_most` contacts with one customer in any `window`."""

    at_most: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Rules:
    """Defaults are the shipped ones; see settings.py for what each means."""

    threshold: float = 0.5
    promise: timedelta = timedelta(hours=2)
    late_after: timedelta = timedelta(hours=24)
    lease: timedelta = timedelta(minutes=10)
    follow_up_within: timedelta = timedelta(minutes=30)
    retries: tuple[timedelta, ...] = (timedelta(hours=1), timedelta(hours=4), timedelta(hours=24))
    next_attempt_within: timedelta = timedelta(days=14)
    reservation: timedelta = timedelta(minutes=15)
    limits: tuple[ContactLimit, ...] = (ContactLimit(3, timedelta(hours=24)), ContactLimit(6, timedelta(days=30)))
    high_value: frozenset[str] = frozenset({"diamond", "gold"})
    county_regions: frozenset[str] = frozenset()

    @property
    def max_attempts(self) -> int:
        """The last attempt that may stay without answer."""
        return len(self.retries) + 1


@dataclass(frozen=True, slots=True)
class Kept:
    """How long: the ids of events after they came; recoveries, with all that belongs to them, and contacts after their end."""

    inbox: timedelta
    closed: timedelta
