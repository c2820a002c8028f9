"""A migrated schema for each test of recovery, in a database of its own: migrated once, then copied."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from closedloop.common.postgres.migrations import migrate
from closedloop.common.postgres.pool import create_pool
from closedloop.recovery.main import MIGRATIONS
from recovery.desk import Desk

TEMPLATE = "recovery_tests_template"
ROLE = "recovery_tests"


def _of_role(url: str, database: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}:secret@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def _template(postgres_admin_url: str) -> Iterator[str]:
    asyncio.run(_execute(postgres_admin_url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", urlunsplit(urlsplit(postgres_admin_url)._replace(path=f"/{TEMPLATE}")))
        migrate("recovery", _of_role(postgres_admin_url, TEMPLATE), MIGRATIONS)
    yield TEMPLATE
    asyncio.run(_execute(postgres_admin_url, f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)"))


@pytest.fixture
def recovery_url(_template: str, postgres_admin_url: str, unique_name: str) -> Iterator[str]:
    """The service role's URL of a fresh, migrated database."""
    asyncio.run(
        _execute(
            postgres_admin_url,
            f"CREATE DATABASE {unique_name} TEMPLATE {_template}",
            f"ALTER ROLE {ROLE} IN DATABASE {unique_name} SET search_path = recovery",
        )
    )
    yield _of_role(postgres_admin_url, unique_name)
    asyncio.run(_execute(postgres_admin_url, f"DROP DATABASE {unique_name} WITH (FORCE)"))


@pytest.fixture
async def desk(recovery_url: str) -> AsyncIterator[Desk]:
    """The use cases with the shipped rules, at 08:00 UTC."""
    pool = await create_pool(recovery_url, "recovery", max_size=20)
    yield Desk(pool)
    await pool.close()
