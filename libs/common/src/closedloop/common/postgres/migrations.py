"""Schemas and roles: run by the administrator before a roll-out, never by a running service.

Each service's chain stands in its `migrations/` as alembic revisions of plain SQL. The schema belongs to the administrator; the
service's role may read and write rows in it, and nothing else.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from closedloop.common.postgres.refusals import refusal
from closedloop.common.settings import AdministratorSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK_TIMEOUT: Final = "10s"
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_lock(hashtext('closedloop.migrate'))"


def migrate(service: str, service_url: str, versions: Path) -> None:
    """Bring the schema to its newest version and make the role of `service_url` able to use it.

    The administrator's URL is DATABASE_URL. Raises SystemExit with a sentence where one of them is missing or not reachable.
    """
    admin_url = AdministratorSettings().database_url.get_secret_value()
    if not admin_url or not service_url:
        raise SystemExit(f"Set DATABASE_URL (the administrator's) and {service.upper()}_DATABASE_URL (the service's role).")
    try:
        asyncio.run(_migrate(service, admin_url, service_url, versions))
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        said = refusal(error, "DATABASE_URL") or f"{error}. Check DATABASE_URL"
        raise SystemExit(f"PostgreSQL did not let the administrator in: {said}.") from None


async def _migrate(service: str, admin_url: str, service_url: str, versions: Path) -> None:
    role, password = _credentials(service_url)
    connection = await asyncpg.connect(admin_url)
    try:
        # grants of several services on one database refuse each other
        await connection.execute(_ONE_AT_A_TIME)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(service)}")
        await _ensure_role(connection, role, password)
        await _upgrade(service, admin_url, versions)
        await _grant(connection, service, role)
    finally:
        await connection.close()


async def _upgrade(service: str, admin_url: str, versions: Path) -> None:
    # imported here: a running service has no need of them, and they take a second to load
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import create_async_engine

    def connect() -> "Coroutine[Any, Any, asyncpg.Connection[asyncpg.Record]]":
        # by asyncpg itself, as SQLAlchemy hands on no sslmode of a URL
        return asyncpg.connect(admin_url, server_settings={"search_path": service, "lock_timeout": LOCK_TIMEOUT})

    engine = create_async_engine("postgresql+asyncpg://", poolclass=pool.NullPool, async_creator=connect)
    try:
        async with engine.begin() as upgrading:
            await upgrading.run_sync(_run_chain, service, versions)
    finally:
        await engine.dispose()


def _run_chain(connection: "Connection", service: str, versions: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["schema"] = service
    command.upgrade(config, "head")


def _credentials(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if not parts.username or not parts.password:
        raise SystemExit("The service's database URL needs a role and a password: postgresql://role:password@host:port/database")
    return unquote(parts.username), unquote(parts.password)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    # utility statements take no parameters; quote_literal is the server's own
    literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {_quoted(role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {literal}")


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", service: str, role: str) -> None:
    schema, who = _quoted(service), _quoted(role)
    database = _quoted(await connection.fetchval("SELECT current_database()"))
    for statement in (
        f"GRANT CONNECT ON DATABASE {database} TO {who}",
        f"GRANT USAGE ON SCHEMA {schema} TO {who}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {who}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {who}",
        f"REVOKE ALL ON {schema}.alembic_version FROM {who}",
        f"ALTER ROLE {who} IN DATABASE {database} SET search_path = {schema}",
    ):
        await connection.execute(statement)
    # a history is only ever added to
    histories = await connection.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = $1 AND table_name LIKE '%history'", service
    )
    for row in histories:
        await connection.execute(f"REVOKE UPDATE, DELETE ON {schema}.{_quoted(row['table_name'])} FROM {who}")
