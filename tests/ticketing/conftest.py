"""A migrated database of the ticketing service, its use cases, and its app."""

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import Pool, create_pool
from closedloop.ticketing.main import MIGRATIONS
from closedloop.ticketing.settings import TicketingSettings
from ticketing.desk import Desk


@pytest.fixture
def ticketing_url(database_url: str, unique_name: str) -> Iterator[str]:
    """The service role's URL of a migrated database."""
    parts = urlsplit(database_url)
    url = urlunsplit(parts._replace(netloc=f"{unique_name}_ticketing:secret@{parts.hostname}:{parts.port}"))
    with patch.dict(os.environ, DATABASE_URL=database_url), ThreadPoolExecutor(1) as apart:
        apart.submit(migrate, "ticketing", url, MIGRATIONS).result()
    yield url


@pytest.fixture
async def pool(ticketing_url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(ticketing_url, "ticketing")
    yield pool
    await pool.close()


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """The service without Kafka and HTTP: events go in, statements are made, tickets come out."""
    return Desk(pool, TicketingSettings(settle_s=0), ZoneInfo("Asia/Shanghai"))
