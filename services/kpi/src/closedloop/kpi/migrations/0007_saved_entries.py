"""Entries of the catalogue that were saved over REST: every version of each, who saved it, when and why."""

from alembic import op

revision = "kpi_0007"
down_revision = "kpi_0006"

STATEMENTS = (
    """CREATE TABLE saved_entry_history (   -- append-only
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        indicator_id text        NOT NULL,
        version      integer     NOT NULL CHECK (version >= 1),
        entry        jsonb,               -- as in a catalogue file; NULL where the indicator was retired
        valid_from   date        NOT NULL, -- on the operator's calendar
        counted_from timestamptz,         -- where events are counted for a formula that was not counted before: from then on
        saved_by     text        NOT NULL,
        saved_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        reason       text        NOT NULL,
        UNIQUE (indicator_id, version)
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
