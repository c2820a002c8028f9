"""What was stated about indicators: the state of each series, its history, and how far each topic was looked at."""

from alembic import op

revision = "kpi_0002"
down_revision = "kpi_0001"

STATEMENTS = (
    """CREATE TABLE statement_progress (
        topic    text        PRIMARY KEY,
        version  bigint      NOT NULL,      -- who writes must have read the same version
        moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    """CREATE TABLE statement_day (       -- days whose buckets were looked at to their end
        topic   text    NOT NULL,
        day     integer NOT NULL,           -- UTC, since 1970
        content text    NOT NULL,           -- changes when the day's buckets do
        PRIMARY KEY (topic, day)
    )""",
    """CREATE TABLE statement_series (
        series       text    PRIMARY KEY,   -- indicator and dimensions, the key of its events
        topic        text    NOT NULL,
        indicator_id text    NOT NULL,
        dimensions   jsonb   NOT NULL,
        stated_until integer NOT NULL,      -- minute since 1970; later data never changes what was stated up to it
        is_breached  boolean NOT NULL,
        said         jsonb                  -- data of the last statement
    )""",
    "CREATE INDEX statement_series_topic ON statement_series (topic)",
    """CREATE TABLE statement_history (   -- append-only
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id     text        NOT NULL UNIQUE,
        series       text        NOT NULL,
        indicator_id text        NOT NULL,
        kind         text        NOT NULL CHECK (kind IN ('breached', 'recovered')),
        reason       text        NOT NULL CHECK (reason IN ('critical', 'back', 'no data', 'threshold withdrawn')),
        at           timestamptz NOT NULL,  -- event time
        data         jsonb       NOT NULL,
        stated_by    text        NOT NULL,
        stated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    "CREATE INDEX statement_history_series ON statement_history (series, at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
