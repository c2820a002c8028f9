"""Keeps a running stack running: restarts what dies, says so, keeps the logs bounded."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from closedloop.local.problems import LocalStackError
from closedloop.local.stack import Stack

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_STEADY = 60.0
_LOG_LIMIT = 20 * 1024**2


class Part(Protocol):
    """A service or a server of the stack."""

    @property
    def running(self) -> bool: ...

    @property
    def exit_code(self) -> int | None: ...

    def launch(self) -> None: ...

    def complaint(self) -> str: ...


@dataclass
class _Watched:
    name: str
    part: Part
    log: Path
    pause: float = _FIRST_PAUSE
    started: float = 0.0
    restart_at: float | None = None


class Supervisor:
    """Watches the parts of a started stack. `turn` is one look at all of them; call it a few times a second."""

    def __init__(self, stack: Stack, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock, self._stack = say, clock, stack
        parts: list[tuple[str, Part, Path]] = [(s.label, s, s.log) for s in stack.services]
        if stack.kafka:
            parts.append(("Kafka", stack.kafka, stack.kafka.log))
        if stack.postgres:
            parts.append(("PostgreSQL", stack.postgres, stack.postgres.log))
        self._watched = [_Watched(name, part, log, started=clock()) for name, part, log in parts]

    def turn(self) -> None:
        """Restart what has ended, after a pause that doubles from 1 s to 30 s while it keeps dying."""
        for watched in self._watched:
            if watched.part.running:
                if watched.pause > _FIRST_PAUSE and self._clock() - watched.started > _STEADY:
                    watched.pause = _FIRST_PAUSE
            elif watched.restart_at is None:
                watched.restart_at = self._clock() + watched.pause
                self._say(
                    f"{watched.name} ended ({_manner(watched.part.exit_code)}: {watched.part.complaint()}); "
                    f"restarting it in {watched.pause:.0f} s; its log is {watched.log}"
                )
                watched.pause = min(2 * watched.pause, _LONGEST_PAUSE)
            elif self._clock() >= watched.restart_at:
                self._restart(watched)

    def bound_logs(self) -> None:
        """Where a log has outgrown 20 MB, its content becomes <name>.log.1 (one older part is kept)."""
        for log in (self._stack.var / "log").glob("*.log"):
            if log.stat().st_size > _LOG_LIMIT:
                bound(log)

    def _restart(self, watched: _Watched) -> None:
        watched.restart_at, watched.started = None, self._clock()
        try:
            watched.part.launch()
        except LocalStackError as problem:
            self._say(str(problem))
        else:
            self._say(f"{watched.name} was started again")


def bound(log: Path) -> None:
    """Move the content away without moving the file: the program that writes it holds it open, in append mode."""
    with log.open("rb") as now, log.with_name(log.name + ".1").open("wb") as before:
        while block := now.read(1 << 20):
            before.write(block)
    with log.open("r+b") as file:
        file.truncate()


def _manner(exit_code: int | None) -> str:
    if exit_code is None:
        return "unknown why"
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
