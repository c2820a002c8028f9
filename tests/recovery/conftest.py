"""A migrated schema for each test of recovery, in a database of its own."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import create_pool
from closedloop.recovery.main import MIGRATIONS
from recovery.desk import Desk


@pytest.fixture
def recovery_url(database_url: str, unique_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The service role's URL of a fresh, migrated database."""
    address = urlsplit(database_url).netloc.rpartition("@")[2]
    url = urlunsplit(urlsplit(database_url)._replace(netloc=f"recovery_{unique_name}:secret@{address}"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    migrate("recovery", url, MIGRATIONS)
    return url


@pytest.fixture
async def desk(recovery_url: str) -> AsyncIterator[Desk]:
    """The use cases with the shipped rules, at 08:00 UTC."""
    pool = await create_pool(recovery_url, "recovery", max_size=20)
    yield Desk(pool)
    await pool.close()
