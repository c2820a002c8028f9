"""A migrated database of the ticketing service, its use cases, and its app."""

from collections.abc import AsyncIterator, Iterator
from zoneinfo import ZoneInfo

import pytest

from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.ticketing.migrate import MIGRATIONS
from closedloop.ticketing.settings import TicketingSettings
from schemas import Migrated, Schemas
from ticketing.desk import Desk


@pytest.fixture
def ticketing_database(schemas: Schemas) -> Iterator[Migrated]:
    """A fresh, migrated database."""
    with schemas.copied("ticketing", MIGRATIONS) as database:
        yield database


@pytest.fixture
def ticketing_url(ticketing_database: Migrated) -> str:
    """The URL of the service's role on it."""
    return ticketing_database.service_url


@pytest.fixture
async def pool(ticketing_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(ticketing_url, "ticketing")
    yield pool
    await pool.close()


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """The service without Kafka and HTTP: events go in, statements are made, tickets come out."""
    return Desk(pool, TicketingSettings(settle_s=0), ZoneInfo("Asia/Shanghai"))
