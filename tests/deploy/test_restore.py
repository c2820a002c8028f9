"""The drill of docs/operating.md on the real stack: a backup taken under way, a lost database, the restore, kpi made anew."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from closedloop.local import prepare
from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from deploy.watching import (
    CONSUMING,
    calm_events,
    caught_up,
    check_counted,
    failing_orders,
    lag,
    positions,
    published,
    query,
    send,
    services_of,
    shown,
)
from faults.evidence import wait_until
from faults.reading import now
from faults.traffic import Sent

BACKUP = Path(__file__).parents[2] / "deploy" / "backup" / "backup.py"
STATED_WITHIN_S = 180
"""Where all comes within a minute, only the clock moves kpi's frontier: after a minute's rest, and less a minute."""


@dataclass
class Drill:
    """The stack after the restore, and how all was before the database was lost."""

    stack: Stack
    backups: Path
    sent: Sent
    at: str
    before: dict[str, Any]
    ids_before: dict[str, list[str]]
    behind: dict[str, int]
    """How many records each service read again."""


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    sent = Sent()
    with temporary_folder() as folder, Stack(folder, Ports.free()) as stack:
        backups = folder / "backups"
        first = calm_events(1, 200)
        send(stack, [*first, *failing_orders(1)], sent)
        wait_until(
            lambda: {"recoveries", "tickets"} <= {t for (t, _), at in positions(stack, "kpi").items() if at},
            STATED_WITHIN_S,
            "said",
        )
        send(stack, calm_events(2, 50), sent)
        backup(stack, "dump", backups)  # while those are being read
        send(stack, [*calm_events(3, 200), *failing_orders(2), *first[:30]], sent)
        wait_until(lambda: breached(stack) == 2 and caught_up(stack), STATED_WITHIN_S, "all was read and said")
        at = now().strftime("%Y-%m-%dT%H:%M:%SZ")
        before, ids = shown(services_of(stack), at), published(stack)
        lose_the_database(stack)
        backup(stack, "restore", backups, "--into", prepare.DATABASE)
        start_again(stack, CONSUMING)
        behind = {name: lag(stack, positions(stack, name)) for name in CONSUMING}
        for name in CONSUMING:
            stack.service(name).start()
        wait_until(lambda: breached(stack) == 2 and caught_up(stack), STATED_WITHIN_S, "all was read and said again")
        yield Drill(stack, backups, sent, at, before, ids, behind)


def run_backup(stack: Stack, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As docs/operating.md calls it, with our Python as python3."""
    given = {**os.environ, **stack.environment(), "DATABASE_URL": stack.admin_url}
    given["PATH"] = f"{Path(sys.executable).parent}:{given['PATH']}"
    return subprocess.run([BACKUP, *arguments], env=given, capture_output=True, text=True, check=False)


def backup(stack: Stack, *arguments: str | Path) -> str:
    done = run_backup(stack, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def breached(stack: Stack) -> int:
    return int(query(stack.database_url("kpi"), "SELECT count(*) FROM statement_series WHERE is_breached")[0][0])


def lose_the_database(stack: Stack) -> None:
    for name in CONSUMING:
        stack.service(name).stop()
    assert stack.postgres
    query(stack.postgres.admin_url, f"DROP DATABASE {prepare.DATABASE} WITH (FORCE)")


def start_again(stack: Stack, names: tuple[str, ...]) -> None:
    """What comes before the services: roles, rights, and what is newer than the backup."""
    prepare.migrate(names, {**stack.environment(), "DATABASE_URL": stack.admin_url}, stack.var)


def test_the_restored_services_read_again_what_came_after_the_backup(drill: Drill) -> None:
    assert all(behind > 0 for behind in drill.behind.values()), drill.behind
    written = lag(drill.stack, dict.fromkeys(positions(drill.stack, "kpi"), 0))
    assert drill.behind["kpi"] < written, "the backup held nothing"


def test_indicators_recoveries_and_tickets_are_as_if_nothing_had_been_lost(drill: Drill) -> None:
    assert len(drill.before["recoveries"]) > 30
    assert {trigger for _, trigger, _ in drill.before["tickets"].values()} >= {"escalated", "indicator"}
    assert shown(services_of(drill.stack), drill.at) == drill.before
    moved, tickets = check_counted(drill.stack, services_of(drill.stack), drill.sent)
    assert len(moved) > 20, moved
    assert min(tickets["topic"], tickets["indicator"]) > 0, tickets


def test_what_is_published_again_has_the_same_ids(drill: Drill) -> None:
    ids = published(drill.stack)
    for topic, before in drill.ids_before.items():
        assert set(ids[topic]) == set(before), topic
        assert len(ids[topic]) > len(before), f"{topic}: nothing was published again"


def test_the_drill_passes_beside_the_running_services_and_leaves_nothing(drill: Drill) -> None:
    assert "The drill passed" in backup(drill.stack, "drill", drill.backups, "--service", "recovery")
    assert drill.stack.postgres
    names = {row[0] for row in query(drill.stack.postgres.admin_url, "SELECT datname FROM pg_database")}
    assert names == {"postgres", "template0", "template1", prepare.DATABASE}
    assert all(drill.stack.service(name).not_ready() is None for name in CONSUMING)


def test_kpi_is_made_anew_from_the_retained_topics(drill: Drill) -> None:
    stack = drill.stack
    ids = published(stack)
    stack.service("kpi").stop()
    query(stack.admin_url, "DROP SCHEMA kpi CASCADE")
    start_again(stack, ("kpi",))
    stack.service("kpi").start()
    wait_until(lambda: breached(stack) == 2 and caught_up(stack), STATED_WITHIN_S, "kpi has read everything")
    assert shown(services_of(stack), drill.at) == drill.before
    again = published(stack)
    assert {topic: set(found) for topic, found in again.items()} == {topic: set(found) for topic, found in ids.items()}


def test_the_drill_fails_where_kafka_does_not_keep_the_positions(drill: Drill) -> None:
    stack = drill.stack
    stack.service("kpi").stop()
    query(stack.admin_url, "UPDATE kpi.consumer_offset SET next_offset = next_offset + 1000000")
    backup(stack, "dump", drill.backups / "ahead", "--service", "kpi")
    done = run_backup(stack, "drill", drill.backups / "ahead", "--service", "kpi")
    assert done.returncode == 1
    assert "THE DRILL FAILED" in done.stderr
    assert "ahead of what Kafka has" in done.stdout
