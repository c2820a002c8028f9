"""`python -m closedloop.local run` as a person uses it: a terminal's Ctrl-C, a death, a token. Stand-ins for the services."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import jwt
import pytest

from closedloop.local.addresses import Ports, variable_of

STANDINS = Path(__file__).with_name("standins")


class _Terminal:
    """A foreground job with its own group, as in a shell, and a mark to find everything that it left running."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.mark = f"TEST_MARK={uuid.uuid4().hex}"
        self.output = folder / "terminal"
        self.ports = Ports.free()
        name, value = self.mark.split("=")
        ports = {variable_of(name): str(port) for name, port in dataclasses.asdict(self.ports).items()}
        self.environment = {
            **os.environ,
            **ports,
            "CLOSEDLOOP_VAR": str(folder / "var"),
            "PYTHONPATH": str(STANDINS),
            name: value,
            **environment,
        }
        self.job: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        with self.output.open("wb") as output:
            self.job = subprocess.Popen(
                [sys.executable, "-m", "closedloop.local", "run"],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def until(self, pattern: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, shown := self.output.read_text()):
            assert time.monotonic() < deadline, shown
            assert self.job is None or self.job.poll() is None or re.search(pattern, self.output.read_text()), shown
            time.sleep(0.05)
        return shown

    def press_ctrl_c(self) -> float:
        """Seconds until the job has ended."""
        assert self.job is not None
        begun = time.monotonic()
        os.killpg(self.job.pid, signal.SIGINT)
        self.job.wait(30)
        return time.monotonic() - begun

    def left_running(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def close(self) -> None:
        if self.job is not None and self.job.poll() is None:
            os.killpg(self.job.pid, signal.SIGTERM)
            self.job.wait(30)


@pytest.fixture
def terminal(server_folder: Path) -> Iterator[_Terminal]:
    opened = _Terminal(server_folder, {})
    yield opened
    opened.close()


@pytest.fixture
def quick_terminal(server_folder: Path, kafka_bootstrap: str, postgres_admin_url: str) -> Iterator[_Terminal]:
    """With the test run's servers in the part of the user's own."""
    opened = _Terminal(server_folder, {"KAFKA_BOOTSTRAP": kafka_bootstrap, "DATABASE_URL": postgres_admin_url})
    yield opened
    opened.close()


@pytest.mark.timeout(120)
def test_everything_starts_is_explained_and_ends_with_ctrl_c_and_it_starts_again(terminal: _Terminal) -> None:
    terminal.run()
    shown = terminal.until(r"Ctrl-C stops everything")
    for name in ("ingest", "kpi", "ticketing", "recovery"):
        assert f"http://127.0.0.1:{terminal.ports.of(name)}/docs" in shown
    assert len(re.findall(r"^  curl ", shown, re.M)) == 3
    [token] = re.findall(r"^  (TOKEN=\S+)$", shown, re.M)
    claims = jwt.decode(token.removeprefix("TOKEN="), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert len(terminal.left_running()) > 6
    assert terminal.press_ctrl_c() < 20
    assert terminal.job is not None
    assert terminal.job.returncode == 0
    assert terminal.left_running() == []

    terminal.run()
    terminal.until(r"Ctrl-C stops everything")
    terminal.press_ctrl_c()
    assert terminal.left_running() == []


def test_ctrl_c_while_it_starts_leaves_nothing_either(terminal: _Terminal) -> None:
    terminal.run()
    terminal.until("starting PostgreSQL")
    assert terminal.press_ctrl_c() < 20
    assert terminal.left_running() == []
    assert "Traceback" not in terminal.output.read_text()


def test_a_closed_terminal_ends_everything_in_order_too(terminal: _Terminal) -> None:
    reader, writer = os.openpty()
    job = subprocess.Popen(
        [sys.executable, "-m", "closedloop.local", "run"],
        env=terminal.environment,
        stdin=writer,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    shown = b""
    while b"Ctrl-C stops everything" not in shown:
        shown += os.read(reader, 4096)
    os.close(reader)
    os.killpg(job.pid, signal.SIGHUP)
    job.wait(20)
    assert terminal.left_running() == []
    var = Path(terminal.environment["CLOSEDLOOP_VAR"])
    assert "shut down" in (var / "log" / "postgres.log").read_text().splitlines()[-1]


def test_a_service_that_dies_is_started_again(quick_terminal: _Terminal) -> None:
    quick_terminal.run()
    quick_terminal.until(r"Ctrl-C stops everything")
    with pytest.raises(OSError, match="closed connection"):
        urlopen(f"http://127.0.0.1:{quick_terminal.ports.kpi}/die", timeout=5)
    quick_terminal.until(r"kpi ended \(exit code 3: .*\); restarting it in 1 s")
    quick_terminal.until("kpi was started again")


def test_an_obstacle_is_one_sentence_and_exit_code_1(quick_terminal: _Terminal) -> None:
    quick_terminal.environment["KPI_PORT"] = "none"
    quick_terminal.run()
    assert quick_terminal.job is not None
    assert quick_terminal.job.wait(30) == 1
    assert quick_terminal.output.read_text() == "KPI_PORT=none is not a port: give a number from 1 to 65535.\n"


def test_the_token_command_prints_a_token_of_this_stack_and_nothing_else(terminal: _Terminal) -> None:
    def token(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "closedloop.local", "token", *arguments]
        return subprocess.run(command, env=terminal.environment, capture_output=True, text=True, check=False)

    made = token("--role", "agent", "--subject", "ann", "--regions", "NJ,SZ")
    claims = jwt.decode(made.stdout.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["regions"]) == ("ann", ["NJ", "SZ"])
    refused = token("--role", "boss")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == ("There is no role 'boss': choose one of producer, agent, analyst, manager, admin.\n")
