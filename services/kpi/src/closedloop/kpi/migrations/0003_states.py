"""Warning and critical, pending and suppressed; acknowledgements, escalations and silences.

stop: kpi

The version before says smaller `sequence` numbers: whoever keeps the newest by them would miss what it says after the new one.
"""

from alembic import op

from closedloop.common.http.preconditions import IDEMPOTENCY_DDL

revision = "kpi_0003"
down_revision = "kpi_0002"

STATEMENTS = (
    # what stood breached when there was one level was critical
    """ALTER TABLE statement_series
        ADD COLUMN id              uuid    GENERATED ALWAYS AS (md5(series)::uuid) STORED UNIQUE,  -- names it in a URL
        ADD COLUMN judged_by       text    NOT NULL DEFAULT 'threshold' CHECK (judged_by IN ('threshold', 'control')),
        ADD COLUMN state           text    NOT NULL DEFAULT 'ok'
            CHECK (state IN ('ok', 'pending', 'warning', 'critical', 'no_data')),
        ADD COLUMN since           integer,            -- minute from which it has been in that state
        ADD COLUMN rank            smallint NOT NULL DEFAULT 0 CHECK (rank BETWEEN 0 AND 2),  -- 1 warning, 2 critical
        ADD COLUMN warning_since   integer,            -- minute from which the value has been as bad as that
        ADD COLUMN critical_since  integer,
        ADD COLUMN suppressed_by   text    CHECK (suppressed_by IN ('muted', 'silenced', 'inhibited')),
        ADD COLUMN evidence        jsonb,              -- value and its parts when it was last judged
        ADD COLUMN version         bigint  NOT NULL DEFAULT 1,  -- grows with each statement and acknowledgement
        ADD COLUMN sequence        bigint,             -- of the last statement's event
        ADD COLUMN breach_id       text,               -- event id of the breach that stands
        ADD COLUMN breached_at     timestamptz,        -- by the clock: when that was stated
        ADD COLUMN acknowledged_by text,
        ADD COLUMN acknowledged_at timestamptz,
        ADD COLUMN comment         text,               -- of whoever acknowledged it
        ADD COLUMN escalations     smallint NOT NULL DEFAULT 0,
        ADD COLUMN escalated_at    timestamptz""",
    """UPDATE statement_series SET rank = 2, state = 'critical', breached_at = clock_timestamp(), sequence = stated_until *
    2::bigint,
        since = stated_until, critical_since = stated_until, warning_since = stated_until,
        breach_id = (SELECT event_id FROM statement_history AS h
                     WHERE h.series = statement_series.series AND h.kind = 'breached' ORDER BY h.id DESC LIMIT 1)
        WHERE is_breached""",
    "CREATE INDEX statement_series_indicator ON statement_series (indicator_id, series)",
    "CREATE INDEX statement_series_unanswered ON statement_series (series) WHERE rank > 0 AND acknowledged_at IS NULL",
    "ALTER TABLE statement_history ADD COLUMN comment text",
    "CREATE INDEX statement_history_indicator ON statement_history (indicator_id, at)",
    "ALTER TABLE statement_history DROP CONSTRAINT statement_history_kind_check, DROP CONSTRAINT statement_history_reason_check",
    """ALTER TABLE statement_history
        ADD CONSTRAINT statement_history_kind_check
            CHECK (kind IN ('breached', 'recovered', 'acknowledged', 'escalated')),
        ADD CONSTRAINT statement_history_reason_check
            CHECK (reason IN ('warning', 'critical', 'control', 'back', 'no data', 'threshold withdrawn', 'control withdrawn',
                              'acknowledged', 'not acknowledged'))""",
    """CREATE TABLE silence (
        id           uuid        PRIMARY KEY,
        indicator_id text,                   -- null: any
        dimensions   jsonb       NOT NULL,   -- of the series that it silences, some or all of theirs
        starts_at    timestamptz NOT NULL,   -- event time
        ends_at      timestamptz NOT NULL,
        comment      text        NOT NULL,
        made_by      text        NOT NULL,
        made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_by     text,                   -- who ended it before its time
        version      bigint      NOT NULL DEFAULT 1
    )""",
    "CREATE INDEX silence_end ON silence (ends_at, id)",
    """CREATE TABLE silence_history (       -- append-only
        seq        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        silence_id uuid        NOT NULL,
        action     text        NOT NULL CHECK (action IN ('made', 'ended')),
        by_whom    text        NOT NULL,
        at         timestamptz NOT NULL DEFAULT clock_timestamp(),
        comment    text        NOT NULL,
        ends_at    timestamptz NOT NULL
    )""",
    # the routes of another step of this schema's chain may have needed it first
    IDEMPOTENCY_DDL,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
