"""What the recovery service exports. Regions are bounded by a setting; no customer, agent or phone is ever a label."""

from prometheus_client import Counter, Gauge, Histogram

WAITING = Gauge("recovery_waiting", "Recoveries that can be claimed now", ["region"])
OLDEST = Gauge("recovery_oldest_waiting_seconds", "How long the oldest claimable recovery has waited")
DUE_SOON = Gauge("recovery_due_soon", "Without a first contact and due within 30 min", ["region"])
OVERDUE = Gauge("recovery_overdue", "Open, without a first contact, past the promise", ["region"])
CLAIMED = Gauge("recovery_claimed", "Recoveries that agents hold")
DEFERRED = Gauge("recovery_deferred", "Recoveries that wait for their next attempt or a contact limit")
SIGNALS = Counter("recovery_signals", "Dissatisfied signals by what became of them", ["outcome"])
DUPLICATES = Counter("recovery_duplicates", "Events that had been taken before", ["content"])
for content in ("same", "other"):  # at 0 from the start: an increase from nothing is no increase to Prometheus
    DUPLICATES.labels(content)
CLAIMS = Counter("recovery_claims", "Answers to a claim", ["answer"])
EXPIRIES = Counter("recovery_lease_expiries", "Claims that agents let run out")
CONTACTS = Counter("recovery_contacts", "Recorded calls by result", ["result"])
CLOSED = Counter("recovery_closed", "Recoveries that ended, by outcome", ["outcome"])
REVEALS = Counter("recovery_phone_reveals", "Phone numbers shown in full")
LIMITED = Counter(
    "recovery_contacts_limited", "Claims put off or reservations refused because a contact limit was used up", ["what"]
)
_UP_TO_THE_PROMISE = (60, 300, 900, 1800, 2700, 3600, 5400, 6300, 7200)
_BEYOND = (9000, 10_800, 14_400, 28_800, 86_400)
FIRST_CONTACT = Histogram(
    "recovery_first_contact_seconds",
    "From dissatisfaction (event time) to the first attempt",
    ["segment"],
    buckets=_UP_TO_THE_PROMISE + _BEYOND,
)
FIRST_REACHED = Histogram(
    "recovery_first_reached_seconds",
    "From dissatisfaction (event time) to the first call that reached the customer",
    ["segment"],
    buckets=_UP_TO_THE_PROMISE + _BEYOND,
)
