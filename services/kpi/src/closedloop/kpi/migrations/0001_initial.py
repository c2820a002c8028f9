"""Segments of buckets and of seen events; positions; outbox."""

from alembic import op

from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL
from closedloop.common.outbox.store import OUTBOX_DDL

revision = "kpi_0001"
down_revision = None
branch_labels = None
depends_on = None

SEGMENT = """
CREATE TABLE segment (                    -- immutable; compaction replaces several by their sum
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('bucket', 'seen')),
    topic      text        NOT NULL,
    day        integer     NOT NULL,      -- UTC day of event time, since 1970
    partition  integer     NOT NULL,      -- of the topic; -1 for buckets, which add up over all
    level      smallint    NOT NULL,      -- how often its content was merged
    rows       bigint      NOT NULL,
    events     bigint      NOT NULL,      -- how many events stand in it
    data       bytea       NOT NULL,      -- bucket: Parquet; seen: ascending 64-bit hashes, then their 32-bit fingerprints
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

STATEMENTS = (
    CONSUMER_OFFSET_DDL,
    OUTBOX_DDL,
    SEGMENT,
    # the content is packed already, or random
    "ALTER TABLE segment ALTER COLUMN data SET STORAGE EXTERNAL",
    "CREATE INDEX segment_place ON segment (kind, topic, day, partition, level)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
