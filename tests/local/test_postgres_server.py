"""The local PostgreSQL keeps its data over stop, kill and restart, and refuses a foreign folder with a sentence."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from closedloop.local import postgres
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from closedloop.local.problems import LocalStackError


@pytest.fixture
def server(server_folder: Path) -> Iterator[PostgresServer]:
    made = PostgresServer(server_folder / "postgres", free_port(), "a secret")
    made.start()
    yield made
    made.kill()


async def _run(server: PostgresServer, statement: str) -> object:
    connection = await asyncpg.connect(server.admin_url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_committed_rows_survive_a_kill_a_stop_and_a_new_object(server: PostgresServer) -> None:
    await _run(server, "CREATE TABLE note AS SELECT 'kept' AS text")
    server.kill()
    assert not server.running
    server.start()
    assert server.stop()
    again = PostgresServer(server.folder, server.port, "a secret")
    again.start()
    try:
        assert await _run(again, "SELECT text FROM note") == "kept"
    finally:
        again.kill()


async def test_commits_are_flushed_and_the_password_is_needed(server: PostgresServer) -> None:
    assert await _run(server, "SHOW fsync") == "on"
    assert await _run(server, "SHOW password_encryption") == "scram-sha-256"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.admin_url.replace("secret", "guess"))


async def test_a_frozen_server_goes_on_when_thawed_and_can_be_stopped_frozen(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.admin_url)
    server.pause()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.3)
    server.resume()
    assert await _run(server, "SELECT 1") == 1
    connection.terminate()
    server.pause()
    assert server.stop()


def test_it_never_runs_as_root_and_keeps_its_data_private(server: PostgresServer) -> None:
    assert stat.S_IMODE((server.folder / "data").stat().st_mode) == 0o700
    if os.geteuid() == 0:
        pid = int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        assert Path(f"/proc/{pid}").stat().st_uid != 0


@pytest.fixture
def private_folder(server_folder: Path) -> Path:
    server_folder.chmod(0o700)
    return server_folder


async def test_it_works_below_a_folder_that_only_we_may_enter_even_for_root(private_folder: Path) -> None:
    closed = PostgresServer(private_folder / "postgres", free_port(), "a secret")
    closed.start()
    try:
        assert await _run(closed, "SELECT 1") == 1
    finally:
        closed.kill()


@pytest.mark.parametrize(
    ("version", "sentence"), [("17", "was written by PostgreSQL 17, this is 18"), (None, "PG_VERSION or pg_control")]
)
def test_a_foreign_folder_is_named_with_the_way_out(server_folder: Path, version: str | None, sentence: str) -> None:
    data = server_folder / "postgres" / "data"
    (data / "global").mkdir(parents=True)
    if version:
        (data / "PG_VERSION").write_text(version + "\n")
        (data / "global" / "pg_control").touch()
    with pytest.raises(LocalStackError, match=rf"{sentence}.*mv .*/postgres"):
        PostgresServer(server_folder / "postgres", free_port(), "x").start()


def test_a_server_that_cannot_start_says_why(server_folder: Path) -> None:
    server = PostgresServer(server_folder / "postgres", free_port(), "x", overrides={"max_connections": "none"})
    with pytest.raises(LocalStackError, match="max_connections"):
        server.start()


def test_an_interrupted_first_start_is_repeated_from_the_beginning(server_folder: Path) -> None:
    left = server_folder / "postgres" / "data.new" / "base"
    left.mkdir(parents=True)
    server = PostgresServer(server_folder / "postgres", free_port(), "x")
    server.start()
    server.kill()
    assert not left.exists()


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch, server_folder: Path) -> None:
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    with pytest.raises(LocalStackError, match="make setup"):
        PostgresServer(server_folder / "postgres", free_port(), "x").start()
