"""What ingest counts, beside what every service counts."""

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED = Counter("ingest_events_accepted", "Events that Kafka has acknowledged", ["topic"])
REJECTED = Counter("ingest_events_rejected", "Events that were refused, by class of reason", ["reason"])
RECORD_BYTES = Counter("ingest_record_bytes", "Bytes of the records sent to Kafka, before compression")
ROUND_SECONDS = Histogram(
    "ingest_round_seconds",
    "From the start of a produce round to Kafka's last acknowledgement",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
ROUND_EVENTS = Histogram("ingest_round_events", "Events in one produce round", buckets=(1, 10, 100, 1_000, 10_000, 100_000))
ROUNDS_FAILED = Counter("ingest_rounds_failed", "Produce rounds that Kafka did not acknowledge in time")
UNACKNOWLEDGED = Gauge("ingest_unacknowledged_events", "Events that wait for Kafka's acknowledgement")
HELD_BYTES = Gauge("ingest_held_bytes", "Bytes of the bodies in hand")
