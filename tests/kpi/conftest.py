"""A migrated schema for each test of kpi that wants one, in a database of its own."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import closedloop.kpi
from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import create_pool
from kpi.counting import Engine
from kpi.desk import Desk, desk_over

MIGRATIONS = Path(closedloop.kpi.__file__).parent / "migrations"


@pytest.fixture
def kpi_url(database_url: str, unique_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The service role's URL of a fresh, migrated database."""
    parts = urlsplit(database_url)
    url = f"postgresql://{unique_name}_kpi:secret@{parts.hostname}:{parts.port}{parts.path}"
    monkeypatch.setenv("DATABASE_URL", database_url)
    with ThreadPoolExecutor(1) as apart:
        apart.submit(migrate, "kpi", url, MIGRATIONS).result()
    return url


@pytest.fixture
async def engine(kpi_url: str) -> AsyncIterator[Engine]:
    """Counting into that database."""
    pool = await create_pool(kpi_url, "kpi")
    yield Engine(pool)
    await pool.close()


@pytest.fixture
async def desk(engine: Engine, tmp_path: Path) -> AsyncIterator[Desk]:
    """A client of the routes over it."""
    async with desk_over(engine, tmp_path) as client:
        yield client
