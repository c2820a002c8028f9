"""A schema with data in it is brought forward without losing what it knows."""

import asyncio
import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.recovery.migrate import MIGRATIONS

FIRST_DATA = """
INSERT INTO signal (source, event_id, fingerprint, at, received_at, late, kind, customer_id, region)
VALUES ('/s', 'in time', 7, now(), now(), false, 'survey', 'C1', 'NJ'), ('/s', 'late', 8, now(), now(), true, 'survey', 'C2', 'NJ');
INSERT INTO recovery (recovery_id, customer_id, region, segment, status, dissatisfied_at, deadline, due_at, queued_at)
VALUES ('6b0f6a52-3d0e-5a8c-9a55-2b6f6a1d7e10', 'C1', 'NJ', 'hotline', 'waiting', now(), now(), now(), now());
INSERT INTO recovery_signal SELECT recovery_id, signal_id FROM recovery, signal WHERE event_id = 'in time'"""


async def test_signals_taken_before_are_known_events_and_stay_with_their_recovery(
    database_url: str, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    parts = urlsplit(database_url)
    role = urlunsplit(parts._replace(netloc=f"{unique_name}:secret@{parts.netloc.rpartition('@')[2]}"))
    shutil.copy(MIGRATIONS / "0001_initial.py", tmp_path)
    await asyncio.to_thread(migrate, "recovery", role, tmp_path)
    connection = await asyncpg.connect(role)
    try:
        await connection.execute(FIRST_DATA)
        await asyncio.to_thread(migrate, "recovery", role, MIGRATIONS)
        known = await connection.fetch("SELECT source, event_id, fingerprint FROM inbox ORDER BY event_id")
        assert [tuple(row) for row in known] == [("/s", "in time", 7), ("/s", "late", 8)]
        signals = await connection.fetch(
            "SELECT event_id, r.customer_id FROM signal LEFT JOIN recovery r USING (recovery_id) ORDER BY 1"
        )
        assert [tuple(row) for row in signals] == [("in time", "C1"), ("late", None)]
    finally:
        await connection.close()
        admin = await asyncpg.connect(database_url)
        await admin.execute(f'DROP OWNED BY "{unique_name}"; DROP ROLE "{unique_name}"')
        await admin.close()
