"""No contact is planned past the limit, whatever the service's role asks: contacts come from their owner's functions alone.

stop: recovery

The version before adds contacts itself, which is refused from here on: reservations, and the calls that agents record.
"""

from alembic import op

revision = "recovery_0003"
down_revision = "recovery_0002"
branch_labels = None
depends_on = None

# `pg_temp` last: nobody's temporary table stands in for one of these
RESERVE_CONTACT = """
CREATE FUNCTION reserve_contact(new_id uuid, customer text, of_region text, for_what text, who text,
                                as_of timestamptz, until timestamptz, windows interval[], at_most integer[])
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = recovery, pg_temp AS $$
-- NULL: it is reserved from `as_of` until `until`. Else nothing is written, and a contact is allowed from then.
DECLARE
    allowed_at timestamptz := contact_allowed_at(customer, as_of, windows, at_most);
BEGIN
    IF allowed_at IS NULL THEN
        INSERT INTO contact (contact_id, customer_id, region, purpose, state, at, expires_at, actor)
        VALUES (new_id, customer, of_region, for_what, 'reserved', as_of, until, who);
        INSERT INTO contact_history (contact_id, at, actor, to_state, why) VALUES (new_id, as_of, who, 'reserved', for_what);
    END IF;
    RETURN allowed_at;
END $$"""

RECORD_CALL = """
CREATE FUNCTION record_call(new_id uuid, customer text, of_region text, who text, took_place timestamptz) RETURNS uuid
LANGUAGE sql SECURITY DEFINER SET search_path = recovery, pg_temp AS $$
-- A call to whom an agent held. It took place: no limit refuses it, and it counts.
    INSERT INTO contact (contact_id, customer_id, region, purpose, state, at, actor)
    VALUES (new_id, customer, of_region, 'recovery_call', 'confirmed', took_place, who) RETURNING contact_id
$$"""

KEEP_CONTACT = """
CREATE FUNCTION keep_contact() RETURNS trigger LANGUAGE plpgsql AS $$
-- Others than the owner may end a reservation, or confirm one that ran out; nothing else makes or unmakes a contact that counts.
BEGIN
    IF current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
        RETURN coalesce(NEW, OLD);
    ELSIF TG_OP = 'UPDATE' AND (NEW.contact_id, NEW.customer_id) = (OLD.contact_id, OLD.customer_id)
        AND (NEW.state = OLD.state OR OLD.state = 'reserved' OR (OLD.state, NEW.state) = ('expired', 'confirmed')) THEN
        RETURN NEW;
    END IF;
    RAISE insufficient_privilege USING MESSAGE = 'contact: reserve_contact and record_call add rows, forget_contacts drops them';
END $$"""

KEPT = "CREATE TRIGGER kept BEFORE INSERT OR UPDATE OR DELETE ON contact FOR EACH ROW EXECUTE FUNCTION keep_contact()"


def upgrade() -> None:
    """Forward only."""
    for statement in (RESERVE_CONTACT, RECORD_CALL, KEEP_CONTACT, KEPT):
        op.execute(statement)
