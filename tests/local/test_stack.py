"""The stack as a class, with stand-ins for the services: order, failures, the user's own servers, orphans."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from closedloop.local import processes, state
from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.problems import LocalStackError
from closedloop.local.stack import Stack

STANDINS = Path(__file__).with_name("standins")


@pytest.fixture(scope="module")
def shared_servers(kafka_bootstrap: str, postgres_admin_url: str) -> dict[str, str]:
    """The test run's own Kafka and PostgreSQL in the part of the user's, so that a stack starts in a second."""
    return {"KAFKA_BOOTSTRAP": kafka_bootstrap, "DATABASE_URL": postgres_admin_url, "PYTHONPATH": str(STANDINS)}


@pytest.fixture
def make_stack(server_folder: Path, shared_servers: dict[str, str]) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(**environment: str) -> Stack:
        said: list[str] = []
        stack = Stack(server_folder, Ports.free(), {**shared_servers, **environment}, say=said.append)
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()


def _get(url: str) -> int:
    with urlopen(url, timeout=5) as response:  # noqa: S310
        return int(response.status)


def test_all_services_are_ready_on_the_users_own_servers_and_gone_after_stop(make_stack: Callable[..., Stack]) -> None:
    with make_stack() as stack:
        assert stack.kafka is None
        assert stack.postgres is None
        assert [_get(stack.url(name) + "/readyz") for name in SERVICES] == [200] * 4
        pids = [service.pid for service in stack.services]
    assert all(pid is not None and processes.birth(pid) is None for pid in pids)


def test_a_service_can_be_killed_started_frozen_and_thawed(make_stack: Callable[..., Stack]) -> None:
    with make_stack() as stack:
        kpi = stack.service("kpi")
        kpi.kill()
        assert kpi.exit_code == -signal.SIGKILL
        assert kpi.readiness() is None
        kpi.start()
        kpi.pause()
        assert kpi.readiness() is None
        kpi.resume()
        assert kpi.readiness() == (200, "waiting for Kafka")
        with pytest.raises(OSError, match="closed connection"):
            _get(kpi.url + "/die")
        assert kpi.wait(5) == 3


def test_a_second_instance_has_its_own_port_log_and_group_member(make_stack: Callable[..., Stack]) -> None:
    with make_stack() as stack:
        second = stack.add_instance("kpi", "2", Ports.free().kpi)
        second.start()
        assert _get(second.url + "/readyz") == 200
        assert stack.service("kpi-2").log != stack.service("kpi").log
        assert stack.service("kpi").running


@pytest.mark.parametrize(
    ("mood", "sentence"),
    [
        (
            {"STANDIN_KPI": "dies"},
            r"kpi ended while it started \(refused to start: no such indicator file\); its log is .*kpi\.log",
        ),
        (
            {"STANDIN_TICKETING": "unmigrated"},
            r"migration of ticketing failed \(no such role\); its log is .*ticketing-migrate\.log",
        ),
    ],
)
def test_a_part_that_fails_at_the_start_is_named_and_nothing_is_left_running(
    make_stack: Callable[..., Stack], mood: dict[str, str], sentence: str
) -> None:
    stack = make_stack(**mood)
    with pytest.raises(LocalStackError, match=sentence):
        stack.start()
    assert not any(service.running for service in stack.services)
    make_stack().start()  # and the state folder is free again


def test_a_service_that_never_gets_ready_is_named_with_what_it_says(make_stack: Callable[..., Stack]) -> None:
    with make_stack() as stack:
        stack.service("recovery").kill()
        stack.service("recovery").launch({"STANDIN_RECOVERY": "unready"})
        with pytest.raises(LocalStackError, match=r"recovery is not ready after 1 s \(/readyz says: waiting for Kafka\)"):
            stack.service("recovery").wait_ready(1)


def test_a_port_that_is_taken_is_named_with_its_holder_and_its_variable(make_stack: Callable[..., Stack]) -> None:
    with make_stack() as first:
        second = Stack(first.var.with_name(first.var.name + "-2"), first.ports, first._given)
        with pytest.raises(LocalStackError, match=rf"{first.ports.kpi} of kpi is taken by python.* \(pid \d+\)") as told:
            second.start()
        assert re.search(r"choose other ports with INGEST_PORT=\d+ KPI_PORT=\d+ ", str(told.value))
        second.stop()
        (second.var / "stack.lock").unlink()


def test_two_services_on_one_port_are_refused(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.ports = Ports.from_environment({"KPI_PORT": "8101"})
    with pytest.raises(LocalStackError, match="the same port: choose different ones in INGEST_PORT=8101, KPI_PORT=8101"):
        stack.start()


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(LocalStackError, match="KAFKA_PORT=ninety is not a port"):
        Ports.from_environment({"KAFKA_PORT": "ninety"})


def test_a_second_stack_in_the_same_folder_is_refused_with_the_pid_of_the_first(
    make_stack: Callable[..., Stack],
) -> None:
    make_stack().start()
    with pytest.raises(LocalStackError, match=rf"running already \(pid {os.getpid()}\)"):
        make_stack().start()


def test_a_full_disk_is_told_before_anything_starts(make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_ROOM_NEEDED", 1 << 60)
    with pytest.raises(LocalStackError, match="GB are free on the disk"):
        make_stack().start()


def test_servers_of_the_user_that_do_not_answer_are_named_by_their_variable(make_stack: Callable[..., Stack]) -> None:
    closed = Ports.free()
    with pytest.raises(LocalStackError, match=rf"^KAFKA_BOOTSTRAP=127\.0\.0\.1:{closed.kafka} does not answer"):
        make_stack(KAFKA_BOOTSTRAP=f"127.0.0.1:{closed.kafka}").start()
    with pytest.raises(LocalStackError, match=rf"^DATABASE_URL names a server at 127\.0\.0\.1:{closed.postgres}"):
        make_stack(DATABASE_URL=f"postgresql://a:b@127.0.0.1:{closed.postgres}/c").start()


def test_a_database_without_its_password_is_told_with_the_way_out(server_folder: Path, shared_servers: dict[str, str]) -> None:
    (server_folder / "postgres" / "data").mkdir(parents=True)
    only_kafka = {key: value for key, value in shared_servers.items() if key != "DATABASE_URL"}
    with pytest.raises(LocalStackError, match=r"secrets/postgres is missing: restore that file, or start afresh"):
        Stack(server_folder, Ports.free(), only_kafka).start()


def test_one_that_is_deaf_to_the_stop_is_killed_in_time_and_said_so(
    server_folder: Path, shared_servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("closedloop.local.stack.SERVICES_STOP_S", 0.5)
    said: list[str] = []
    with Stack(server_folder, Ports.free(), {**shared_servers, "STANDIN_KPI": "deaf"}, say=said.append):
        pass
    assert "kpi did not end in time and was killed" in said


_KILLED = """
import sys
from pathlib import Path
from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
stack = Stack(Path(sys.argv[1]), Ports(*map(int, sys.argv[2:])), {}, services=("ingest",))
stack.start()
print(stack.service("ingest").pid, flush=True)
for part in (stack.service("ingest"), stack.kafka, stack.postgres):
    part.pause()
print("frozen", flush=True)
sys.stdin.read()
"""


@pytest.mark.timeout(90)
def test_what_a_killed_stack_left_behind_is_ended_by_the_next_one_and_the_state_is_kept(server_folder: Path) -> None:
    ports = Ports.free()
    numbers = [str(ports.of(name)) for name in (*SERVICES, "kafka", "postgres")]
    first = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(server_folder), *numbers],
        env={**os.environ, "PYTHONPATH": str(STANDINS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    orphan = int(first.stdout.readline())
    assert first.stdout.readline() == "frozen\n"
    first.kill()
    first.communicate()
    assert processes.birth(orphan) is not None, "frozen, it outlives its parent"
    said: list[str] = []
    environment = {"PYTHONPATH": str(STANDINS)}
    with Stack(server_folder, ports, environment, services=("ingest",), say=said.append) as again:
        assert "ended ingest, left over from a stack that was killed" in said
        assert processes.birth(orphan) is None
        assert again.service("ingest").readiness() is not None
