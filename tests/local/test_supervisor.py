"""What dies is started again, ever later while it keeps dying, and somebody is told. Logs stay bounded."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from closedloop.local import supervisor
from closedloop.local.stack import Stack
from closedloop.local.supervisor import Supervisor, bound


class _Part:
    """A part whose life the test decides."""

    def __init__(self, log: Path) -> None:
        self.label, self.log = "kpi", log
        self.running, self.starts = True, 0
        self.exit_code: int | None = None

    def die(self, exit_code: int) -> None:
        self.running, self.exit_code = False, exit_code

    def complaint(self) -> str:
        return "out of words"

    def launch(self) -> None:
        self.running, self.exit_code = True, None
        self.starts += 1


class _Watch:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.part = _Part(folder / "log" / "kpi.log")
        stack = SimpleNamespace(services=[self.part], kafka=None, postgres=None, var=folder)
        self.supervisor = Supervisor(cast(Stack, stack), self.said.append, lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.supervisor.turn()


@pytest.fixture
def watch(tmp_path: Path) -> _Watch:
    return _Watch(tmp_path)


def test_a_service_that_dies_is_started_again_and_said_so(watch: _Watch) -> None:
    watch.pass_time(10)
    watch.part.die(-9)
    watch.pass_time(2)
    assert watch.part.starts == 1
    assert watch.said[0].startswith("kpi ended (signal 9: out of words); restarting it in 1 s; its log is ")
    assert watch.said[1] == "kpi was started again"


def test_one_that_keeps_dying_is_tried_ever_later_but_never_given_up(watch: _Watch) -> None:
    pauses = []
    for _ in range(8):
        watch.part.die(2)
        begun, starts = watch.now, watch.part.starts
        while watch.part.starts == starts:
            watch.pass_time(0.25)
        pauses.append(round(watch.now - begun))
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_after_a_steady_minute_the_next_death_is_answered_quickly_again(watch: _Watch) -> None:
    for _ in range(3):
        watch.part.die(2)
        watch.pass_time(9)
    watch.pass_time(61)
    watch.part.die(2)
    watch.said.clear()
    watch.pass_time(1.5)
    assert "in 1 s" in watch.said[0]


def test_a_log_is_cut_without_losing_what_is_written_afterwards(tmp_path: Path) -> None:
    log = tmp_path / "kpi.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"before\n")
        bound(log)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "kpi.log.1").read_bytes() == b"before\n"


def test_only_logs_over_the_bound_are_cut(watch: _Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "_LOG_LIMIT", 10)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "kpi.log").write_bytes(b"x" * 11)
    (tmp_path / "log" / "ingest.log").write_bytes(b"x" * 10)
    watch.supervisor.bound_logs()
    assert (tmp_path / "log" / "kpi.log").stat().st_size == 0
    assert (tmp_path / "log" / "ingest.log").stat().st_size == 10
