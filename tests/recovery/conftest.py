"""A migrated schema for each test of recovery, in a database of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from closedloop.common.postgres.pool import create_pool
from closedloop.recovery.migrate import MIGRATIONS
from recovery.desk import Desk
from schemas import Schemas


@pytest.fixture
def recovery_url(schemas: Schemas) -> Iterator[str]:
    """The service role's URL of a fresh, migrated database."""
    with schemas.copied("recovery", MIGRATIONS) as database:
        yield database.service_url


@pytest.fixture
async def desk(recovery_url: str) -> AsyncIterator[Desk]:
    """The use cases with the shipped rules, at 08:00 UTC."""
    pool = await create_pool(recovery_url, "recovery", max_size=20)
    yield Desk(pool)
    await pool.close()
