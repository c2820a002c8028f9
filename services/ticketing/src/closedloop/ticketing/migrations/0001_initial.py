"""Complaints counted per subject, tickets with their evidence and history, and the shared tables."""

from alembic import op

from closedloop.common.consumer.inbox import INBOX_DDL
from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL
from closedloop.common.http.preconditions import IDEMPOTENCY_DDL
from closedloop.common.outbox.store import OUTBOX_DDL

revision = "ticketing_0001"
down_revision = None

STATEMENTS = (
    CONSUMER_OFFSET_DDL,
    OUTBOX_DDL,
    IDEMPOTENCY_DDL,
    *INBOX_DDL,
    """CREATE TABLE subject (
        id             integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind           text        NOT NULL CHECK (kind IN ('complaint', 'enquiry')),
        topic_path     text        NOT NULL,
        first_at       timestamptz NOT NULL,   -- event time of its earliest and latest complaint
        last_at        timestamptz NOT NULL,
        backfill_since timestamptz,            -- clock: when old complaints began to come, and came last
        backfilled_at  timestamptz,
        batch_until    timestamptz,            -- statements are made for all steps (minutes) up to here
        hot_until      timestamptz,
        hot_fired_at   timestamptz,            -- window_end of the last firing
        UNIQUE (kind, topic_path)
    )""",
    """CREATE TABLE complaint (
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject_id   integer     NOT NULL,
        customer_id  text        NOT NULL,
        at           timestamptz NOT NULL,
        source       text        NOT NULL,
        event_id     text        NOT NULL,
        complaint_id text        NOT NULL,   -- or the enquiry's id
        region       text        NOT NULL,
        counts       boolean     NOT NULL DEFAULT true,    -- no other one of this customer in the 24 h before it
        received_at  timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    "CREATE INDEX complaint_of_customer ON complaint (subject_id, customer_id, at)",
    "CREATE INDEX complaint_by_time ON complaint (subject_id, at)",
    "CREATE INDEX complaint_by_id ON complaint (complaint_id)",
    "CREATE INDEX complaint_received ON complaint USING brin (received_at)",
    """CREATE TABLE bin (
        subject_id integer NOT NULL REFERENCES subject,
        bin        integer NOT NULL,   -- ten minutes since 1970 UTC
        complaints integer NOT NULL,
        customers  integer NOT NULL,   -- complaints that count: each customer once per 24 h
        PRIMARY KEY (subject_id, bin)
    )""",
    "CREATE INDEX bin_by_time ON bin (bin)",
    """CREATE TABLE ticket (
        id           uuid        PRIMARY KEY,
        cause        text        NOT NULL,
        topic_path   text,
        indicator_id text,
        title        text        NOT NULL,
        trigger      text        NOT NULL,   -- what opened it
        stage        text        NOT NULL CHECK (stage IN ('discover', 'analyse', 'improve', 'evaluate', 'closed')),
        round        integer     NOT NULL DEFAULT 1,
        unit         text,
        priority     integer     NOT NULL,
        urgency      integer     NOT NULL,
        difficulty   text,
        customers    integer     NOT NULL,
        regions      text[]      NOT NULL,   -- empty: the whole operator
        analysis     jsonb,                  -- the current round's content
        improvement  jsonb,
        evaluation   jsonb,
        outcome      text,
        opened_at    timestamptz NOT NULL,   -- event time of what opened it
        opened_by    text        NOT NULL,
        improved_at  timestamptz,
        closed_at    timestamptz,
        version      integer     NOT NULL DEFAULT 1,
        created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    "CREATE UNIQUE INDEX ticket_one_open_per_cause ON ticket (cause) WHERE stage <> 'closed'",
    "CREATE INDEX ticket_by_opening ON ticket (opened_at DESC, id DESC)",
    "CREATE INDEX ticket_of_topic ON ticket (topic_path)",
    "CREATE INDEX ticket_regions ON ticket USING gin (regions)",
    """CREATE TABLE ticket_history (
        seq        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        ticket_id  uuid        NOT NULL REFERENCES ticket,
        version    integer     NOT NULL,
        at         timestamptz NOT NULL,
        actor      text        NOT NULL,
        client     text        NOT NULL,
        action     text        NOT NULL,
        from_stage text,
        to_stage   text        NOT NULL,
        reason     text,
        content    jsonb
    )""",
    "CREATE INDEX ticket_history_of_ticket ON ticket_history (ticket_id, seq)",
    """CREATE TABLE firing_history (
        id           uuid        PRIMARY KEY,   -- derives from trigger, cause and window
        seq          bigint      GENERATED ALWAYS AS IDENTITY,
        ticket_id    uuid        NOT NULL REFERENCES ticket,
        trigger      text        NOT NULL,
        at           timestamptz NOT NULL,      -- event time
        window_start timestamptz,
        window_end   timestamptz,
        expected     double precision,
        observed     double precision,
        customers    integer     NOT NULL,
        regions      jsonb       NOT NULL,      -- region → customers
        complaints   jsonb       NOT NULL,      -- a bounded list of {complaint_id, region, at}
        details      jsonb       NOT NULL,
        stated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
    )""",
    "CREATE INDEX firing_history_of_ticket ON firing_history (ticket_id, seq)",
    "CREATE INDEX firing_history_batch ON firing_history (at) WHERE trigger = 'batch'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
