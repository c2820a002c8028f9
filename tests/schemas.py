"""A migrated database for each test that wants one: migrated once for a service, then copied, which takes a tenth of the time."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from closedloop.common.postgres.migrations import migrate


@dataclass(frozen=True)
class Migrated:
    """One database: the administrator's URL and that of the service's role."""

    admin_url: str
    service_url: str


class Schemas:
    """Of one PostgreSQL server. `copied` gives a test a database of its own and drops it afterwards; `close` drops the rest."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._of_this_run = uuid.uuid4().hex[:8]  # a server of the user's may serve several runs
        self._templates: set[str] = set()

    @contextlib.contextmanager
    def copied(self, service: str, migrations: Path) -> Iterator[Migrated]:
        """A fresh database with that service's schema, and nothing in it."""
        role = f"{service}_{self._of_this_run}"
        template = self._template(service, role, migrations)
        name = f"{role}_{uuid.uuid4().hex[:8]}"
        self._execute(
            f"CREATE DATABASE {name} TEMPLATE {template}", f"ALTER ROLE {role} IN DATABASE {name} SET search_path = {service}"
        )
        try:
            yield self._addresses(name, role)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Drop the templates."""
        for template in self._templates:
            self._execute(f"DROP DATABASE {template} WITH (FORCE)")

    def _template(self, service: str, role: str, migrations: Path) -> str:
        template = f"template_{role}"
        if template not in self._templates:
            self._execute(f"CREATE DATABASE {template}")
            self._templates.add(template)
            made = self._addresses(template, role)
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("DATABASE_URL", made.admin_url)
                migrate(service, made.service_url, migrations)
        return template

    def _addresses(self, database: str, role: str) -> Migrated:
        parts = urlsplit(self._admin_url)._replace(path=f"/{database}")
        of_role = parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}")
        return Migrated(urlunsplit(parts), urlunsplit(of_role))

    def _execute(self, *statements: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self._admin_url)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(execute())
