"""A service's role may read and write rows of its own schema, add to histories, and nothing else.

On schemas made up for it; tests/deploy/test_security.py asks the same of the real services' roles.
"""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from closedloop.common.postgres.migrations import migrate

FIRST = """
from alembic import op
revision = "NAME_0001"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE thing (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
    op.execute("CREATE TABLE thing_history (what text)")
"""
SECOND = """
from alembic import op
revision = "NAME_0002"
down_revision = "NAME_0001"
def upgrade():
    op.execute("ALTER TABLE thing ADD COLUMN more text")
"""


def service_url(admin_url: str, role: str, password: str) -> str:
    parts = urlsplit(admin_url)
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))


def versions(tmp_path: Path, name: str, *texts: str) -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04d}.py").write_text(text.replace("NAME", name))
    return folder


async def test_the_role_works_in_its_own_schema_and_nowhere_else(
    database_url: str, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setenv("DATABASE_URL", database_url)
    urls = {name: service_url(database_url, f"{unique_name}_{name}", "it's ¼ secret") for name in ("one", "two")}
    for name, url in urls.items():
        await asyncio.to_thread(
            migrate, name, url.replace("it's ¼ secret", "it%27s%20%C2%BC%20secret"), versions(tmp_path, name, FIRST)
        )
    # again, with one more step
    one = urls["one"].replace("it's ¼ secret", "it%27s%20%C2%BC%20secret")
    await asyncio.to_thread(migrate, "one", one, versions(tmp_path, "one", FIRST, SECOND))
    connection = await asyncpg.connect(one)
    try:
        await connection.execute("INSERT INTO thing (name, more) VALUES ('a', 'b')")
        assert await connection.fetchval("SELECT count(*) FROM thing") == 1
        await connection.execute("INSERT INTO thing_history VALUES ('a')")
        for forbidden in (
            "SELECT * FROM two.thing",
            "CREATE TABLE one.more (id int)",
            "CREATE TABLE public.more (id int)",
            "DROP TABLE thing",
            "UPDATE thing_history SET what = 'b'",
            "DELETE FROM thing_history",
            "UPDATE alembic_version SET version_num = 'x'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
        admin = await asyncpg.connect(database_url)
        for name in urls:
            await admin.execute(f"DROP OWNED BY {unique_name}_{name}; DROP ROLE {unique_name}_{name}")
        await admin.close()


def test_a_missing_address_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SystemExit, match=r"Set DATABASE_URL.*ONE_DATABASE_URL"):
        migrate("one", "", tmp_path)
