"""What stood breached before states had levels stands critical after the upgrade, and ends as it would have."""

import asyncio
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import create_pool
from closedloop.kpi.domain.statement import minute_at
from closedloop.kpi.migrate import MIGRATIONS
from kpi.test_statements import NJ, NOON, SZ, WATCHING_FAILURES, Buckets, reach, said, state, statements_on


async def test_a_breach_that_stood_before_the_upgrade_ends_after_it(
    database_url: str, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(database_url)
    url = f"postgresql://{unique_name}_kpi:secret@{parts.hostname}:{parts.port}{parts.path}"
    monkeypatch.setenv("DATABASE_URL", database_url)
    for file in ("0001_initial.py", "0002_statements.py"):
        shutil.copy(MIGRATIONS / file, tmp_path)
    await asyncio.to_thread(migrate, "kpi", url, tmp_path)
    pool = await create_pool(url, "kpi")
    for series, region, stands in ((NJ, "NJ", True), (SZ, "SZ", False)):
        await pool.execute(
            "INSERT INTO statement_series VALUES ($1, 'orders', 'order_failure_rate', $2, $3, $4, NULL)",
            series,
            {"region": region},
            NOON + 5,
            stands,
        )
    await pool.execute(
        """INSERT INTO statement_history (event_id, series, indicator_id, kind, reason, at, data, stated_by)
           VALUES ('b', $1, 'order_failure_rate', 'breached', 'critical', $2, '{}', 'kpi')""",
        NJ,
        minute_at(NOON + 1),
    )
    await asyncio.to_thread(migrate, "kpi", url, MIGRATIONS)
    rows = await pool.fetch("SELECT state, rank, breach_id, sequence FROM statement_series ORDER BY series")
    assert [tuple(row) for row in rows] == [("critical", 2, "b", 2 * (NOON + 5)), ("ok", 0, None, None)]
    buckets = Buckets()
    buckets.add("NJ", NOON, failed=20, ended=100)
    await reach(pool, NOON + 90)
    await state(statements_on(pool, WATCHING_FAILURES, buckets))
    assert (await said(pool))[1:] == [(61, NJ, "recovered", "no data")]
    await pool.close()
