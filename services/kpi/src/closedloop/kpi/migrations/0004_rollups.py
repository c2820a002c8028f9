"""Roll-ups: hours and days as further kinds of segments, and the zone whose days they are.

stop: kpi

The version before merges segments without a look at `rolled`: what is rolled up already would be rolled up once more.
"""

from alembic import op

revision = "kpi_0004"
down_revision = "kpi_0003"

STATEMENTS = (
    "ALTER TABLE segment DROP CONSTRAINT segment_kind_check",
    # an hour segment is of a UTC day, a day segment of the 32 UTC days from `day` on, which is a multiple of 32
    "ALTER TABLE segment ADD CONSTRAINT segment_kind_check CHECK (kind IN ('bucket', 'hour', 'day', 'seen'))",
    # whether a segment of the next coarser kind holds its content too
    "ALTER TABLE segment ADD COLUMN rolled boolean NOT NULL DEFAULT false",
    "CREATE INDEX segment_unrolled ON segment (kind, topic, day) WHERE NOT rolled AND kind IN ('bucket', 'hour')",
    """CREATE TABLE rollup (              -- one row at most
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        zone    text    NOT NULL          -- the operator's zone, by which hours and days were cut
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
