"""A stored position against the Kafka that is there now: does it fit, and if not, what may be done. Pure."""

import enum
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of a service's `consumer_offset`."""

    topic: str
    partition: int
    next_offset: int
    cluster_id: str
    topic_id: str
    watermark: datetime | None = None
    moved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Present:
    """What Kafka has of a partition: the oldest offset kept, the next one to be written, whose they are."""

    first: int
    last: int
    cluster_id: str
    topic_id: str


class Fit(enum.Enum):
    """How a stored position fits. All but FITS and NEW keep the service from starting."""

    FITS = "fits"
    NEW = "not read yet"
    OTHER_CLUSTER = "belongs to another Kafka cluster"
    OTHER_TOPIC = "the topic was deleted and made again"
    NO_TOPIC = "the topic does not exist"
    LOST = "Kafka has deleted records that were not read"
    AHEAD = "ahead of what Kafka has: records were lost there"


def fit(stored: Stored | None, present: Present | None) -> Fit:
    """How a position fits what is there."""
    if present is None:
        return Fit.NO_TOPIC
    if stored is None:
        return Fit.NEW
    if stored.cluster_id != present.cluster_id:
        return Fit.OTHER_CLUSTER
    if stored.topic_id != present.topic_id:
        return Fit.OTHER_TOPIC
    if stored.next_offset < present.first:
        return Fit.LOST
    if stored.next_offset > present.last:
        return Fit.AHEAD
    return Fit.FITS


def lag(stored: Stored | None, present: Present | None) -> int | None:
    """How many records stand unread; None where the position says nothing about them."""
    if present is None or fit(stored, present) not in (Fit.FITS, Fit.NEW):
        return None
    return present.last - (stored.next_offset if stored else present.first)


@dataclass(frozen=True, slots=True)
class Move:
    """A position's change by `reset`."""

    topic: str
    partition: int
    stored: Stored | None
    after: int
    present: Present

    @property
    def _before(self) -> int:
        """Where reading would go on; a position of another cluster or topic tells nothing about these records."""
        comparable = fit(self.stored, self.present) in (Fit.FITS, Fit.LOST, Fit.AHEAD)
        before = self.stored.next_offset if self.stored and comparable else self.present.first
        return min(max(before, self.present.first), self.present.last)

    @property
    def skipped(self) -> int:
        """Records that will never be read."""
        return max(0, self.after - self._before)

    @property
    def read_again(self) -> int:
        """Records that were read before and will be read again."""
        return max(0, self._before - self.after)


def target(to: str, stored: Stored | None, present: Present) -> int:
    """The offset that `to` (earliest, latest, adopt or a number) means. ValueError with a sentence where it is none."""
    if to == "earliest":
        return present.first
    if to == "latest":
        return present.last
    if to == "adopt":
        if stored is None:
            raise ValueError("there is no position to adopt")
        offset = stored.next_offset
    elif to.isdigit():
        offset = int(to)
    else:
        raise ValueError(f"'{to}' is neither earliest, latest, adopt nor an offset")
    if not present.first <= offset <= present.last:
        raise ValueError(f"{offset} is outside of what Kafka keeps ({present.first} to {present.last})")
    return offset
