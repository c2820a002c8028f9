"""What is past its time is found by an index that stays exact.

BRIN ranges never shrink: once new rows fill the room of those that were dropped, every range holds an old time and the whole
table is read each time. A batch's rows have one time now, which a B-tree keeps once.
"""

from alembic import op

revision = "ticketing_0002"
down_revision = "ticketing_0001"


def upgrade() -> None:
    for table in ("inbox", "complaint"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN received_at SET DEFAULT statement_timestamp()")
        op.execute(f"DROP INDEX {table}_received")
        op.execute(f"CREATE INDEX {table}_received ON {table} (received_at)")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
