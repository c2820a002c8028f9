"""A migrated schema for each test of kpi that wants one, in a database of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from closedloop.common.postgres.pool import create_pool
from closedloop.kpi.migrate import MIGRATIONS
from kpi.counting import Engine
from kpi.desk import Desk, desk_over
from schemas import Migrated, Schemas


@pytest.fixture
def kpi_database(schemas: Schemas) -> Iterator[Migrated]:
    """A fresh, migrated database."""
    with schemas.copied("kpi", MIGRATIONS) as database:
        yield database


@pytest.fixture
def kpi_url(kpi_database: Migrated) -> str:
    """The URL of the service's role on it."""
    return kpi_database.service_url


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
