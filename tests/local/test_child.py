"""Nothing that we start outlives us."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from closedloop.local import processes
from closedloop.local.child import Child, end_orphan

_SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]

_PARENT = """
import sys, time
from pathlib import Path
from closedloop.local.child import Child
folder = Path(sys.argv[1])
child = Child("sleeper", folder / "log", folder / "pid")
child.start([sys.executable, "-c", sys.argv[2]], {}, folder)
print(child.pid, flush=True)
time.sleep(600)
"""

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def _until_up(log: Path) -> None:
    for _ in range(500):
        if log.exists() and log.read_text():
            return
        threading.Event().wait(0.02)
    raise AssertionError("the child did not come up")


def _parent(folder: Path, program: str) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(folder), program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    _until_up(folder / "log")
    return parent, pid


def _end(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.communicate()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent, pid = _parent(tmp_path, "import time; print('up', flush=True); time.sleep(600)")
    _end(parent)
    assert processes.wait_gone([pid], 5)


def test_an_orphan_that_ignored_the_death_of_its_parent_is_ended_at_the_next_start(tmp_path: Path) -> None:
    parent, pid = _parent(tmp_path, _STUBBORN)
    processes.send([pid], signal.SIGSTOP)
    _end(parent)
    assert processes.birth(pid) is not None
    child = Child("sleeper", tmp_path / "log", tmp_path / "pid")
    child.start(_SLEEPER, {}, tmp_path)
    assert processes.birth(pid) is None
    child.kill()


def test_a_stranger_that_got_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(_SLEEPER, stdout=subprocess.DEVNULL) as stranger:
        mark = {"pid": stranger.pid, "birth": "an earlier boot", "stop_signal": int(signal.SIGTERM)}
        (tmp_path / "pid").write_text(json.dumps(mark))
        assert not end_orphan(tmp_path / "pid")
        assert stranger.poll() is None
        assert not (tmp_path / "pid").exists()
        stranger.kill()


def test_a_damaged_pid_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("{")
    assert not end_orphan(tmp_path / "pid")


def test_children_started_by_a_thread_outlive_that_thread(tmp_path: Path) -> None:
    child = Child("sleeper", tmp_path / "log", tmp_path / "pid")
    thread = threading.Thread(target=child.start, args=(_SLEEPER, {}, tmp_path))
    thread.start()
    thread.join()
    _until_up(tmp_path / "log")
    assert child.running
    assert child.stop(5)
    assert child.exit_code == -signal.SIGTERM


def test_one_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    child = Child("stubborn", tmp_path / "log", tmp_path / "pid")
    child.start([sys.executable, "-c", _STUBBORN], {}, tmp_path)
    _until_up(tmp_path / "log")
    assert not child.stop(0.2)
    assert child.exit_code == -signal.SIGKILL
