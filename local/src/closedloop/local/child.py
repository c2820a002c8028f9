"""One program that runs under us: started, watched, stopped, killed, frozen; ended with us, found again after us."""

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from closedloop.local import processes
from closedloop.local.launch import launcher_command
from closedloop.local.spawner import on_lasting_thread


class Child:
    """A program with its own session (so that Ctrl-C reaches only us), its log and its pid file.

    `death_signal` is what it gets from the kernel if we die; `pid_file` finds it again where that did not help.
    `user` is (uid, gid) to give up root for.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        pid_file: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._pid_file = pid_file
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs or was never started; negative: the signal that ended it."""
        return self._process.poll() if self._process else None

    def start(self, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> None:
        """Start it; an orphan of an earlier run is ended first. Returns at once."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        end_orphan(self._pid_file)
        for folder in (self.log.parent, self._pid_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        launched = launcher_command(command, death_signal=self._death_signal, user=self._user)

        def spawn() -> subprocess.Popen[bytes]:
            with self.log.open("ab") as log:  # append mode: the log can be truncated under it
                return subprocess.Popen(
                    launched,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(env),
                    cwd=cwd,
                    start_new_session=True,
                )

        self._process, self._asked = on_lasting_thread(spawn), False
        pid = self._process.pid
        mark = {"pid": pid, "birth": processes.birth(pid), "stop_signal": int(self._stop_signal)}
        self._pid_file.write_text(json.dumps(mark))

    def stop(self, seconds: float) -> bool:
        """Ask it to end; after the time, kill it. True where it ended by itself."""
        if not self.running or self._process is None:
            self._forget()
            return True
        self.ask_to_stop()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._forget()
        return True

    def ask_to_stop(self) -> None:
        """The stop signal, without waiting; a frozen one is thawed first."""
        if self._process is not None and self.running and not self._asked:
            self._asked = True  # a second signal means "at once" to many programs
            self.resume()
            self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL to it and its descendants, as a crash of the machine would; returns when all are gone."""
        if self._process is None or not self.running:
            self._forget()
            return
        members = processes.family(self._process.pid)
        processes.send(members, signal.SIGKILL)
        self._process.wait()
        processes.wait_gone(members, 10)
        self._forget()

    def pause(self) -> None:
        """Freeze it and its descendants (SIGSTOP); the parent first, so that no new ones appear."""
        if self._process is not None and self.running:
            processes.send([self._process.pid], signal.SIGSTOP)
            processes.send(processes.family(self._process.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._process is not None and self.running:
            processes.send(list(reversed(processes.family(self._process.pid))), signal.SIGCONT)

    def wait(self, seconds: float | None = None) -> int:
        """The exit code, once it has ended. TimeoutError otherwise."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {seconds} s") from None

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 16_384))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except FileNotFoundError:
            return []

    def _forget(self) -> None:
        self._pid_file.unlink(missing_ok=True)


def end_orphan(pid_file: Path) -> bool:
    """End the process that an earlier, killed run left behind. True where there was one."""
    try:
        mark = json.loads(pid_file.read_text())
        pid, birth, stop_signal = int(mark["pid"]), mark["birth"], signal.Signals(mark["stop_signal"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    found = birth is not None and processes.birth(pid) == birth
    if found:
        members = processes.family(pid)
        processes.send(members, signal.SIGCONT)
        processes.send([pid], stop_signal)
        if not processes.wait_gone(members, 5):
            processes.send(members, signal.SIGKILL)
            processes.wait_gone(members, 5)
    pid_file.unlink(missing_ok=True)
    return found
