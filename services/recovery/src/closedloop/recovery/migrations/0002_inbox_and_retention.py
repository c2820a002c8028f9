"""Every event that is taken is remembered, and what is over is forgotten some day; histories by their owner's function alone.

stop: recovery

The version before finds what it has taken in `signal` by columns that go here, and links it in a table that goes.
"""

from alembic import op

from closedloop.common.consumer.inbox import INBOX_DDL

revision = "recovery_0002"
down_revision = "recovery_0001"
branch_labels = None
depends_on = None

SIGNALS_OF_THEIR_RECOVERY = (
    "INSERT INTO inbox SELECT source, event_id, fingerprint, received_at FROM signal",
    # a signal belongs to one recovery, or to none where it was too old on arrival: kept, not queued
    "ALTER TABLE signal ADD COLUMN recovery_id uuid REFERENCES recovery",
    "UPDATE signal s SET recovery_id = l.recovery_id FROM recovery_signal l WHERE l.signal_id = s.signal_id",
    "DROP TABLE recovery_signal",
    # the inbox tells what is known; the index of customers served no question
    "ALTER TABLE signal DROP CONSTRAINT signal_source_event_id_key, DROP COLUMN fingerprint, DROP COLUMN late",
    "DROP INDEX signal_customer",
    "CREATE INDEX signal_of ON signal (recovery_id) WHERE recovery_id IS NOT NULL",
)

BY_AGE = (
    "CREATE INDEX signal_late ON signal (received_at) WHERE recovery_id IS NULL",
    "CREATE INDEX recovery_closed ON recovery (closed_at) WHERE status = 'closed'",
    "CREATE INDEX contact_by_age ON contact (at) WHERE state <> 'reserved'",
    "CREATE INDEX phone_reveal_history_of ON phone_reveal_history (recovery_id)",
)

# The service's role can only add to histories. These run as their owner; whatever that role asks for, a history of which a line is
# younger than 90 days stays. `pg_temp` last: nobody's temporary table stands in for one of these.
FORGET_RECOVERIES = """
CREATE FUNCTION forget_recoveries(closed_before timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = recovery, pg_temp AS $$
-- Closed recoveries and what belongs to them; how many. Not those to which something happened since.
DECLARE
    gone uuid[];
BEGIN
    closed_before := least(closed_before, clock_timestamp() - interval '90 days');
    gone := ARRAY(
        SELECT r.recovery_id FROM recovery r
        WHERE r.status = 'closed' AND r.closed_at < closed_before
          AND NOT EXISTS (SELECT FROM recovery_history h WHERE h.recovery_id = r.recovery_id AND h.at >= closed_before)
          AND NOT EXISTS (SELECT FROM phone_reveal_history p WHERE p.recovery_id = r.recovery_id AND p.at >= closed_before)
        ORDER BY r.closed_at LIMIT at_most FOR UPDATE SKIP LOCKED
    );
    DELETE FROM recovery_history WHERE recovery_id = ANY (gone);
    DELETE FROM phone_reveal_history WHERE recovery_id = ANY (gone);
    DELETE FROM signal WHERE recovery_id = ANY (gone);
    DELETE FROM recovery_contact WHERE recovery_id = ANY (gone);
    DELETE FROM recovery WHERE recovery_id = ANY (gone);
    RETURN cardinality(gone);
END $$"""

FORGET_CONTACTS = """
CREATE FUNCTION forget_contacts(ended_before timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = recovery, pg_temp AS $$
-- Contacts that count against no limit any more, with their histories; how many.
DECLARE
    gone uuid[];
BEGIN
    ended_before := least(ended_before, clock_timestamp() - interval '90 days');
    gone := ARRAY(
        SELECT c.contact_id FROM contact c
        WHERE c.state <> 'reserved' AND c.at < ended_before
          AND NOT EXISTS (SELECT FROM contact_history h WHERE h.contact_id = c.contact_id AND h.at >= ended_before)
        ORDER BY c.at LIMIT at_most FOR UPDATE SKIP LOCKED
    );
    DELETE FROM contact_history WHERE contact_id = ANY (gone);
    DELETE FROM contact WHERE contact_id = ANY (gone);
    RETURN cardinality(gone);
END $$"""


def upgrade() -> None:
    """Forward only."""
    for statement in (*INBOX_DDL, *SIGNALS_OF_THEIR_RECOVERY, *BY_AGE, FORGET_RECOVERIES, FORGET_CONTACTS):
        op.execute(statement)
