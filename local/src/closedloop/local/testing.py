"""pytest fixtures: real Kafka and real PostgreSQL for tests. tests/conftest.py loads this file.

    def test_something(kafka_bootstrap: str, database_url: str, unique_name: str) -> None: ...

kafka_bootstrap     str, a broker shared by the whole test run; topics are not created by themselves
postgres_admin_url  str, postgresql:// URL of the administrator of a server shared by the whole test run
database_url        str, administrator's URL of a fresh, empty database of this one test, dropped afterwards
unique_name         str such as `t3f9a01c2`: a prefix for this test's topics, groups, roles
topic_prefix        str, `unique_name` and a hyphen
kafka_server        KafkaServer, the object behind kafka_bootstrap; restart it after you stopped, killed or paused it
postgres_server     PostgresServer, likewise

Roles belong to the server, not to a database: a migration must accept that its role is there already.
The servers start when a test first asks for them (about 4 s and 1 s), on free ports below the ephemeral range, in a
temporary folder, so they run beside `make run`; they end with the test run, even where that is killed.
TEST_KAFKA_BOOTSTRAP and TEST_DATABASE_URL point the tests at your own servers instead; CLOSEDLOOP_TEST_CONTAINERS=1 starts the
shared servers as Docker containers, see `testing_containers`.
Tests that kill servers take their own: `KafkaServer(tmp_folder, free_port())`, `PostgresServer(…)` or `stack.Stack(…)`
with the fixture `server_folder` (a temporary folder that PostgreSQL's unprivileged user can reach, too).
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from closedloop.local import processes, testing_containers
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from closedloop.local.warm_up import warm_up

_PREFIX = "closedloop-tests-"


@pytest.fixture(scope="session")
def _session_folder() -> Iterator[Path]:
    _remove_folders_of_ended_runs()
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A temporary folder for one test's own servers."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def kafka_server(_session_folder: Path) -> Iterator[KafkaServer]:
    """The shared broker. Its sessions may be as short as 1 s."""
    warm_up()
    server = KafkaServer(_session_folder / "kafka", free_port(), overrides={"group.min.session.timeout.ms": "1000"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap servers of the shared broker."""
    given = os.environ.get("TEST_KAFKA_BOOTSTRAP")
    if given:
        yield given
    elif testing_containers.wanted():
        with testing_containers.kafka() as bootstrap:
            yield bootstrap
    else:
        server: KafkaServer = request.getfixturevalue("kafka_server")
        yield server.bootstrap


@pytest.fixture(scope="session")
def postgres_server(_session_folder: Path) -> Iterator[PostgresServer]:
    """The shared PostgreSQL server."""
    server = PostgresServer(_session_folder / "postgres", free_port(), password=uuid.uuid4().hex)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_admin_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The administrator's URL of the shared PostgreSQL server."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
    elif testing_containers.wanted():
        with testing_containers.postgres(uuid.uuid4().hex) as url:
            yield url
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        yield server.admin_url


@pytest.fixture
def database_url(postgres_admin_url: str, unique_name: str) -> Iterator[str]:
    """The administrator's URL of a database that only this test has."""
    _apart(_execute(postgres_admin_url, f'CREATE DATABASE "{unique_name}"'))
    yield urlunsplit(urlsplit(postgres_admin_url)._replace(path=f"/{unique_name}"))
    _apart(_execute(postgres_admin_url, f'DROP DATABASE IF EXISTS "{unique_name}" WITH (FORCE)'))


@pytest.fixture
def unique_name() -> str:
    """A name that no other test has."""
    return "t" + uuid.uuid4().hex[:8]


@pytest.fixture
def topic_prefix(unique_name: str) -> str:
    """What this test's topics begin with."""
    return unique_name + "-"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _apart(work: Coroutine[object, object, None]) -> None:
    """Run it on a thread of its own, so that the test's own event loop is not touched."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)  # PostgreSQL's unprivileged user must be able to pass
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_folders_of_ended_runs() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and processes.birth(int(pid)) is None:
            shutil.rmtree(folder, ignore_errors=True)
