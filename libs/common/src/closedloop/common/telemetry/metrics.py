"""Every metric that the shared parts export, in one place. Labels are bounded; no ids, no personal data."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("consumer_records", "Records taken from a topic, by what became of them", ["topic", "outcome"])
MISPLACED = Counter("consumer_misplaced_records", "Sampled records whose key belongs to another partition", ["topic"])
LAG = Gauge("consumer_lag_records", "Records that stand unread, as of the last fetch", ["topic", "partition"])
LAG_SECONDS = Gauge("consumer_lag_seconds", "How long ago the oldest record that is not applied was appended", ["topic"])
BATCH_SECONDS = Histogram(
    "consumer_batch_seconds",
    "From the start of a batch's transaction to its commit",
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10),
)
BATCH_RECORDS = Histogram("consumer_batch_records", "Records in one transaction", buckets=(1, 10, 100, 1000, 10000, 100000))
WAITING = Gauge("consumer_waiting", "1 while an outage or a rebalance keeps the consumer from applying records")
BRAKED = Gauge("consumer_braked", "1 while too many rejections have stopped the consumer")
FENCE_LOST = Counter("consumer_fence_lost", "Batches dropped because another member had moved the position")
RESTORED = Counter("consumer_positions_restored", "How often positions were read from PostgreSQL")
DEAD_LETTERS = Counter("dead_letters", "Records written to a dead-letter topic", ["topic", "stage"])

POOL_USED = Gauge("postgres_pool_connections_used", "Connections to PostgreSQL that are in use")
POOL_MAX = Gauge("postgres_pool_connections_max", "Connections to PostgreSQL that this process may open")
CONNECTIONS = Gauge("postgres_connections", "Connections that the server holds, anybody's")
CONNECTIONS_MAX = Gauge("postgres_connections_max", "Connections that the server accepts")
DATABASE_BYTES = Gauge("postgres_database_bytes", "Size of the database")
SCHEMA_BYTES = Gauge("postgres_schema_bytes", "Size of this service's tables with their indexes")

OUTBOX_PENDING = Gauge("outbox_pending", "Messages that stand in the outbox, at most one round of 500")
OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the oldest message in the outbox")
OUTBOX_PUBLISHED = Counter("outbox_published", "Messages that Kafka acknowledged", ["topic"])
OUTBOX_FAILURES = Counter("outbox_failures", "Rounds of the relay that failed")

HTTP_REQUESTS = Counter("http_requests", "Answered requests", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "http_request_seconds",
    "Time to the whole answer",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
READY = Gauge("service_ready", "1 while this part lets requests be served, as of this scrape", ["part"])
LOOP_LAG = Gauge("event_loop_lag_seconds", "How late the event loop ran a timer, at worst in the last seconds")
