"""Since when each sum, and each dimension, is counted."""

from alembic import op

revision = "kpi_0008"
down_revision = "kpi_0007"

STATEMENTS = (
    """CREATE TABLE counted (               -- columns of the buckets: sums, sketches, dimensions
        topic text        NOT NULL,
        name  text        NOT NULL,
        since timestamptz,                -- NULL: as long as anything of the topic is counted
        until timestamptz,                -- since when it is not any more
        PRIMARY KEY (topic, name)
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
