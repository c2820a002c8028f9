"""Figures that systems, tests and third parties report: every version of each, for ever."""

from alembic import op

revision = "kpi_0005"
down_revision = "kpi_0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE measurement (            -- append-only: a correction is a row of its own
        id           bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        indicator_id text             NOT NULL,
        granularity  text             NOT NULL CHECK (granularity IN ('day', 'month', 'quarter', 'year')),
        period       text             NOT NULL,
        first_day    date             NOT NULL,  -- of the period, on the operator's calendar
        after_day    date             NOT NULL,  -- the next period's first
        dimensions   jsonb            NOT NULL,  -- without a region: the whole operator
        version      integer          NOT NULL CHECK (version >= 1),
        numerator    double precision,
        denominator  double precision,
        value        double precision,
        file         text,
        method       text,
        reason       text             CHECK (version = 1 OR reason IS NOT NULL),
        reported_by  text             NOT NULL,  -- the token's subject
        reported_at  timestamptz      NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (indicator_id, period, dimensions, version)
    )""",
    "CREATE INDEX measurement_time ON measurement (indicator_id, granularity, first_day)",
    """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$""",
    """CREATE TRIGGER measurement_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON measurement
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
