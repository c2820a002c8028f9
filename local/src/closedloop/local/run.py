"""`make run`: the stack in the foreground, until Ctrl-C."""

import contextlib
import os
import shlex
import signal
import time
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from closedloop.local.addresses import Ports
from closedloop.local.guide import guide
from closedloop.local.places import var_dir
from closedloop.local.stack import Stack
from closedloop.local.state import StateFolder
from closedloop.local.supervisor import Supervisor


class _Stopped(BaseException):
    """Somebody asked us to end."""


class _Screen:
    """Sentences with the time, and a progress bar for the download of the first start."""

    def __init__(self) -> None:
        self._console = Console(stderr=False, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("Kafka", visible=False)

    def say(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; what we do must go on
            self._console.print(f"{time.strftime('%H:%M:%S')}  {sentence}", markup=False)

    def progress(self, done: int, total: int) -> None:
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total, visible=True)
        if done == total:
            self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._bar.stop()


def run() -> None:
    """Start everything, keep it running, end it in order on Ctrl-C, SIGTERM or a closed terminal."""
    screen = _Screen()

    def begin_stop(number: int, frame: FrameType | None) -> None:
        # a second signal must not interrupt the orderly end that the first one begins
        _on_stop_signals(signal.SIG_IGN)
        screen.close()
        screen.say("stopping")
        raise _Stopped

    _on_stop_signals(begin_stop)
    stack = Stack(var_dir(), Ports.from_environment(os.environ), os.environ, say=screen.say, progress=screen.progress)
    begun = time.monotonic()
    try:
        stack.start()
        write_settings(stack)
        screen.say(f"ready after {time.monotonic() - begun:.0f} s")
        print(guide(stack), flush=True)
        _keep_running(stack, screen)
    except _Stopped:
        stack.stop()
        screen.say("stopped; nothing is left running")
    finally:
        stack.stop()
        screen.close()


def write_settings(stack: Stack) -> None:
    """`env` in the state folder: what the closedloop command needs to reach this stack; private, it has passwords."""
    wanted = ("KAFKA_", "AUTH_", "INGEST_", "KPI_", "TICKETING_", "RECOVERY_")
    settings = {k: v for k, v in stack.environment().items() if k.startswith(wanted)}
    settings["DATABASE_URL"] = stack.admin_url
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in sorted(settings.items())]
    StateFolder.write_private(stack.var / "env", "".join(lines))


def _keep_running(stack: Stack, screen: _Screen) -> None:
    supervisor = Supervisor(stack, screen.say)
    turns = 0
    while True:
        time.sleep(0.25)
        supervisor.turn()
        turns += 1
        if turns % 40 == 0:
            supervisor.bound_logs()


def _on_stop_signals(handler: "signal._HANDLER") -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)
