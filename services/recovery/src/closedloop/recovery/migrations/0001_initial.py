"""Signals, recoveries, contacts, their histories."""

from alembic import op

from closedloop.common.consumer.positions import CONSUMER_OFFSET_DDL
from closedloop.common.http.preconditions import IDEMPOTENCY_DDL
from closedloop.common.outbox.store import OUTBOX_DDL

revision = "recovery_0001"
down_revision = None
branch_labels = None
depends_on = None

SIGNAL = """
CREATE TABLE signal (                      -- append-only; the unique key is the inbox
    signal_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source         text        NOT NULL,
    event_id       text        NOT NULL,
    fingerprint    bigint      NOT NULL,   -- tells other content under the same id
    at             timestamptz NOT NULL,   -- event time
    received_at    timestamptz NOT NULL,
    late           boolean     NOT NULL,   -- too old on arrival: kept, not queued
    kind           text        NOT NULL CHECK (kind IN ('survey', 'sms_rating', 'complaint_followup', 'complaint_closed')),
    customer_id    text        NOT NULL,
    region         text        NOT NULL,
    customer_class text,
    product        text,
    process        text,
    channel        text,
    score          double precision,
    reason         text,
    comment        text,
    complaint_id   text,
    order_id       text,
    contact_id     text,
    campaign_id    text,
    UNIQUE (source, event_id)
)"""

RECOVERY = """
CREATE TABLE recovery (
    recovery_id      uuid        PRIMARY KEY,
    customer_id      text        NOT NULL,
    region           text        NOT NULL,
    segment          text        NOT NULL
        CHECK (segment IN ('complaint_centre', 'outbound_city', 'outbound_county', 'phone_manager', 'hotline')),
    customer_class   text,
    product          text,
    process          text,
    channel          text,
    phone            text,
    status           text        NOT NULL CHECK (status IN ('waiting', 'claimed', 'deferred', 'closed')),
    dissatisfied_at  timestamptz NOT NULL,   -- event time of the earliest signal
    deadline         timestamptz NOT NULL,   -- the promise for the first contact
    due_at           timestamptz NOT NULL,   -- orders the queue: the deadline, later the next attempt's
    queued_at        timestamptz NOT NULL,
    claim_number     bigint      NOT NULL DEFAULT 0,   -- the fencing token
    held_by          text,
    claimed_at       timestamptz,
    lease_until      timestamptz,
    available_at     timestamptz,            -- deferred: not before
    deferred_for     text        CHECK (deferred_for IN ('next_attempt', 'contact_limit')),
    attempts         integer     NOT NULL DEFAULT 0,
    first_contact_at timestamptz,
    first_reached_at timestamptz,
    outcome          text        CHECK (outcome IN ('resolved', 'not_resolved', 'declined', 'wrong_number', 'unreached')),
    closed_at        timestamptz,
    version          bigint      NOT NULL DEFAULT 1,
    CHECK ((status = 'claimed') = (held_by IS NOT NULL AND claimed_at IS NOT NULL AND lease_until IS NOT NULL)),
    CHECK ((status = 'deferred') = (available_at IS NOT NULL AND deferred_for IS NOT NULL)),
    CHECK ((status = 'closed') = (outcome IS NOT NULL AND closed_at IS NOT NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)"""

RECOVERY_INDEXES = (
    # one open recovery a customer, one claim an agent
    "CREATE UNIQUE INDEX recovery_open ON recovery (customer_id) WHERE status <> 'closed'",
    "CREATE UNIQUE INDEX recovery_held ON recovery (held_by) WHERE held_by IS NOT NULL",
    # the next to call, by each way of asking
    "CREATE INDEX recovery_next ON recovery (due_at) WHERE status = 'waiting'",
    "CREATE INDEX recovery_next_segment ON recovery (segment, due_at) WHERE status = 'waiting'",
    "CREATE INDEX recovery_next_region ON recovery (region, due_at) WHERE status = 'waiting'",
    "CREATE INDEX recovery_next_region_segment ON recovery (region, segment, due_at) WHERE status = 'waiting'",
    # what time moves
    "CREATE INDEX recovery_lease ON recovery (lease_until) WHERE status = 'claimed'",
    "CREATE INDEX recovery_available ON recovery (available_at) WHERE status = 'deferred'",
    # lists
    "CREATE INDEX recovery_due ON recovery (due_at, recovery_id)",
    "CREATE INDEX recovery_done ON recovery (customer_id) WHERE status = 'closed'",
)

RECOVERY_SIGNAL = """
CREATE TABLE recovery_signal (
    recovery_id uuid   NOT NULL REFERENCES recovery,
    signal_id   bigint NOT NULL REFERENCES signal,
    PRIMARY KEY (recovery_id, signal_id)
)"""

RECOVERY_HISTORY = """
CREATE TABLE recovery_history (
    history_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recovery_id uuid        NOT NULL,
    at          timestamptz NOT NULL,
    actor       text        NOT NULL,   -- an agent's subject, or `system`
    action      text        NOT NULL,
    from_status text,
    to_status   text        NOT NULL,
    why         text,
    version     bigint      NOT NULL
)"""

RECOVERY_CONTACT = """
CREATE TABLE recovery_contact (            -- what agents recorded about their calls
    contact_id      uuid        PRIMARY KEY,
    recovery_id     uuid        NOT NULL REFERENCES recovery,
    attempt         integer     NOT NULL,
    agent           text        NOT NULL,
    claim_number    bigint,
    at              timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    reached         boolean     NOT NULL,
    result          text        NOT NULL,
    reason          text,
    note            text,
    next_attempt_at timestamptz,
    UNIQUE (recovery_id, attempt)
)"""

CONTACT = """
CREATE TABLE contact (                     -- every contact with a customer, of whatever service: what the limits count
    contact_id  uuid        PRIMARY KEY,
    customer_id text        NOT NULL,
    region      text        NOT NULL,
    purpose     text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('reserved', 'confirmed', 'released', 'expired')),
    at          timestamptz NOT NULL,      -- counts from here: when reserved, then when it took place
    expires_at  timestamptz,
    actor       text        NOT NULL,
    CHECK (state <> 'reserved' OR expires_at IS NOT NULL)
)"""

CONTACT_HISTORY = """
CREATE TABLE contact_history (
    history_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact_id  uuid        NOT NULL,
    at          timestamptz NOT NULL,
    actor       text        NOT NULL,
    from_state  text,
    to_state    text        NOT NULL,
    why         text
)"""

PHONE_REVEAL_HISTORY = """
CREATE TABLE phone_reveal_history (
    history_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recovery_id uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text        NOT NULL,
    client      text        NOT NULL,
    why         text        NOT NULL
)"""

CONTACT_ALLOWED_AT = """
CREATE FUNCTION contact_allowed_at(customer text, as_of timestamptz, windows interval[], at_most integer[])
RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
-- When the customer may be contacted again; NULL: now. Until the transaction ends nobody else is answered for this customer,
-- so whoever was told "now" can write a reservation or a claim. A held claim counts as a contact that is about to be.
DECLARE
    claim_at timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(customer, 8104));
    -- statements of their own: they see what was committed while this one waited for the lock
    SELECT r.claimed_at INTO claim_at FROM recovery r
    WHERE r.customer_id = customer AND r.status <> 'closed' AND r.lease_until > as_of;
    IF claim_at IS NULL AND NOT EXISTS (
        SELECT FROM contact c WHERE c.customer_id = customer AND c.state IN ('reserved', 'confirmed')
    ) THEN
        RETURN NULL;
    END IF;
    RETURN (
        WITH counted AS (
            SELECT c.at FROM contact c
            WHERE c.customer_id = customer AND (c.state = 'confirmed' OR (c.state = 'reserved' AND c.expires_at > as_of))
            UNION ALL
            SELECT claim_at WHERE claim_at IS NOT NULL
        )
        SELECT max(filled.at + l.span)
        FROM unnest(windows, at_most) AS l (span, most),
             LATERAL (SELECT counted.at FROM counted ORDER BY counted.at DESC OFFSET l.most - 1 LIMIT 1) AS filled
        WHERE filled.at > as_of - l.span
    );
END $$"""


NEXT_WAITING = """
CREATE FUNCTION next_waiting(n bigint, regions text[], wanted_segment text)
RETURNS SETOF recovery LANGUAGE plpgsql VOLATILE ROWS 10
-- with an unknown LIMIT the planner expects a tenth of the queue, and would sort a long one for every claim
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
-- The head of the queue, locked; NULL: any region, any segment. Each way of asking walks one partial index from its beginning.
-- Of several regions the heads of all are locked; those that are not taken are let go with the transaction.
BEGIN
    IF n <= 0 THEN
        RETURN;
    ELSIF regions IS NULL AND wanted_segment IS NULL THEN
        RETURN QUERY SELECT w.* FROM recovery w WHERE w.status = 'waiting' ORDER BY w.due_at LIMIT n FOR UPDATE SKIP LOCKED;
    ELSIF regions IS NULL THEN
        RETURN QUERY SELECT w.* FROM recovery w WHERE w.status = 'waiting' AND w.segment = wanted_segment
            ORDER BY w.due_at LIMIT n FOR UPDATE SKIP LOCKED;
    ELSIF wanted_segment IS NULL THEN
        RETURN QUERY SELECT head.* FROM unnest(regions) AS asked (region), LATERAL (
                SELECT w.* FROM recovery w WHERE w.status = 'waiting' AND w.region = asked.region
                ORDER BY w.due_at LIMIT n FOR UPDATE SKIP LOCKED) AS head
            ORDER BY head.due_at LIMIT n;
    ELSE
        RETURN QUERY SELECT head.* FROM unnest(regions) AS asked (region), LATERAL (
                SELECT w.* FROM recovery w WHERE w.status = 'waiting' AND w.region = asked.region AND w.segment = wanted_segment
                ORDER BY w.due_at LIMIT n FOR UPDATE SKIP LOCKED) AS head
            ORDER BY head.due_at LIMIT n;
    END IF;
END $$"""


def upgrade() -> None:
    """Forward only."""
    for statement in (
        CONSUMER_OFFSET_DDL,
        OUTBOX_DDL,
        IDEMPOTENCY_DDL,
        SIGNAL,
        "CREATE INDEX signal_customer ON signal (customer_id, at)",
        RECOVERY,
        *RECOVERY_INDEXES,
        RECOVERY_SIGNAL,
        RECOVERY_HISTORY,
        "CREATE INDEX recovery_history_of ON recovery_history (recovery_id, history_id)",
        RECOVERY_CONTACT,
        CONTACT,
        "CREATE INDEX contact_counted ON contact (customer_id, at) WHERE state IN ('reserved', 'confirmed')",
        "CREATE INDEX contact_reserved ON contact (expires_at) WHERE state = 'reserved'",
        CONTACT_HISTORY,
        "CREATE INDEX contact_history_of ON contact_history (contact_id, history_id)",
        PHONE_REVEAL_HISTORY,
        CONTACT_ALLOWED_AT,
        NEXT_WAITING,
    ):
        op.execute(statement)
