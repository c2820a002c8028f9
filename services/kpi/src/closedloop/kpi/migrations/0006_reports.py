"""Monthly reports: the published ones as they were, the comments, the shortcomings and the measures against them."""

from alembic import op

revision = "kpi_0006"
down_revision = "kpi_0005"

STATEMENTS = (
    """CREATE TABLE report (                -- a row once somebody commented, or published
        month        text        PRIMARY KEY CHECK (month ~ '^[0-9]{4}-[0-9]{2}$'),
        version      bigint      NOT NULL DEFAULT 1,
        published_at timestamptz,
        published_by text,
        note         text,                -- why it was published although owners had not commented
        json         bytea,               -- the very bytes that everybody gets from then on
        html         bytea,
        xlsx         bytea,
        sha256       text,                -- of json, hexadecimal
        CHECK ((published_at IS NULL) = (json IS NULL))
    )""",
    """CREATE FUNCTION report_is_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
           IF OLD.published_at IS NOT NULL THEN
               RAISE EXCEPTION 'the report of % is published; it does not change', OLD.month USING ERRCODE = '23514';
           END IF;
           IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
           RETURN NEW;
       END $$""",
    "CREATE TRIGGER report_frozen BEFORE UPDATE OR DELETE ON report FOR EACH ROW EXECUTE FUNCTION report_is_frozen()",
    """CREATE TABLE report_comment_history ( -- append-only
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        month        text        NOT NULL,
        indicator_id text        NOT NULL,
        author       text        NOT NULL,
        written_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        text         text        NOT NULL
    )""",
    "CREATE INDEX report_comment_month ON report_comment_history (month, indicator_id)",
    """CREATE TABLE shortcoming (           -- an indicator that fell short in published reports, from its first such month on
        indicator_id text        NOT NULL,
        since        text        NOT NULL,
        gone         text,                -- the first published month in which it did not
        PRIMARY KEY (indicator_id, since)
    )""",
    "CREATE UNIQUE INDEX shortcoming_open ON shortcoming (indicator_id) WHERE gone IS NULL",
    """CREATE TABLE improvement (           -- a measure against a shortcoming
        id           uuid        PRIMARY KEY,
        version      bigint      NOT NULL DEFAULT 1,
        indicator_id text        NOT NULL,
        text         text        NOT NULL,
        owner        text        NOT NULL,
        due          date        NOT NULL,
        state        text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'dropped')),
        created_by   text        NOT NULL,
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at     timestamptz
    )""",
    "CREATE INDEX improvement_indicator ON improvement (indicator_id, created_at)",
    """CREATE TABLE improvement_history (   -- append-only: how far it was, who says so, when, why
        id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        improvement_id uuid        NOT NULL REFERENCES improvement (id),
        percent        integer     NOT NULL CHECK (percent BETWEEN 0 AND 100),
        state          text        NOT NULL,
        text           text        NOT NULL,
        author         text        NOT NULL,
        written_at     timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    "CREATE INDEX improvement_history_of ON improvement_history (improvement_id, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
