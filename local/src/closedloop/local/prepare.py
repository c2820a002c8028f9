"""What the services find when they start: the database, their schemas, the topics."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from aiokafka.errors import KafkaConnectionError, KafkaError

from closedloop.common.kafka.admin import ensure_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.refusals import refusal
from closedloop.local.kafka import KafkaServer
from closedloop.local.postgres import PostgresServer
from closedloop.local.problems import LocalStackError

DATABASE = "closedloop"


def create_database(admin_url: str, own: PostgresServer | None, var: Path) -> None:
    """Make our database on our `own` server; on the user's (None) only see whether `admin_url` is let in."""

    async def create() -> None:
        connection = await asyncpg.connect(admin_url, timeout=10)
        try:
            if own and not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    try:
        asyncio.run(create())
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        if own:
            raise LocalStackError(
                f"PostgreSQL in {own.folder} refuses its administrator ({error}): restore the password in "
                f"{var / 'secrets' / 'postgres'}, or start afresh with 'mv {own.folder} {own.folder}.old'."
            ) from error
        where = urlsplit(admin_url)
        raise LocalStackError(
            f"DATABASE_URL names a server at {where.hostname}:{where.port or 5432} that does not let us in "
            f"({type(error).__name__}): start it or correct the URL, or unset DATABASE_URL to use our own."
        ) from error


def migrate(services: Sequence[str], environment: Mapping[str, str], var: Path, python: str = sys.executable) -> None:
    """Bring the schemas of these services to the newest version that `python` has. LocalStackError names the one that failed."""
    (var / "log").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(services)) as pool:  # loading takes longest; the database is changed by one at a time
        for done in [pool.submit(_migrate_one, name, environment, var, python) for name in services]:
            done.result()


def _migrate_one(name: str, environment: Mapping[str, str], var: Path, python: str) -> None:
    path = var / "log" / f"{name}-migrate.log"
    command = [python, "-m", f"closedloop.{name}", "migrate"]
    try:
        with path.open("wb") as log:
            done = subprocess.run(command, env=environment, stdout=log, stderr=log, cwd=var, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise LocalStackError(f"The migration of {name} is not done after 120 s; its log is {path}.") from None
    if done.returncode != 0:
        said = [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise LocalStackError(f"The migration of {name} failed ({' '.join(said)}); its log is {path}.")


def create_topics(bootstrap: str, own: KafkaServer | None) -> None:
    """Make the topics that are missing, on our `own` broker or the user's (None)."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    try:
        asyncio.run(ensure_topics(kafka))
    except (KafkaError, OSError, TimeoutError) as error:
        if said := asyncio.run(refusal(error, kafka)):
            raise LocalStackError(f"The topics were not created: {said}.") from error
        if own:
            raise LocalStackError(f"Kafka did not create the topics ({error}); its log is {own.log}.") from error
        if isinstance(error, KafkaError) and not isinstance(error, KafkaConnectionError):
            raise LocalStackError(f"KAFKA_BOOTSTRAP={bootstrap} did not create the topics: {error}") from error
        raise LocalStackError(
            f"KAFKA_BOOTSTRAP={bootstrap} does not answer ({type(error).__name__}): start that Kafka or correct "
            "the address, or unset KAFKA_BOOTSTRAP to use our own."
        ) from error
