"""One program of the stack, a server or a service: everything that is the same for all of them."""

import time
from collections.abc import Callable
from pathlib import Path

from closedloop.local.child import Child
from closedloop.local.problems import LocalStackError

_ASK_AGAIN_S = 0.05


class Part:
    """Started, waited for, stopped, killed, frozen. What it runs and when it is ready its subclass says."""

    title: str
    """Its name in sentences."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def launch(self) -> None:
        """Start without waiting."""
        raise NotImplementedError

    def not_ready(self) -> str | None:
        """None where clients are served; else what it says about that, if anything."""
        raise NotImplementedError

    def complaint(self) -> str:
        """What its log says went wrong last."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs or was never started; negative: the signal that ended it."""
        return self._child.exit_code

    @property
    def log(self) -> Path:
        return self._child.log

    def start(self, seconds: float = 60) -> None:
        """Start and wait until clients are served."""
        self.launch()
        self.wait_ready(seconds)

    def wait_ready(self, seconds: float = 60) -> None:
        """Until clients are served. LocalStackError where it ends or takes longer."""
        self._wait(self.not_ready, seconds)

    def stop(self, seconds: float = 15) -> bool:
        """End cleanly, kill after the time. True where it ended by itself."""
        return self._child.stop(seconds)

    def kill(self) -> None:
        """SIGKILL to it and all its children."""
        self._child.kill()

    def pause(self) -> None:
        """SIGSTOP, likewise."""
        self._child.pause()

    def resume(self) -> None:
        """SIGCONT, likewise."""
        self._child.resume()

    def _wait(self, why_not: Callable[[], str | None], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (said := why_not()) is not None:
            if not self.running:
                raise LocalStackError(f"{self.title} ended while it started ({self.complaint()}); its log is {self.log}.")
            if time.monotonic() > deadline:
                told = f" ({said})" if said else ""
                raise LocalStackError(f"{self.title} is not ready after {seconds:.0f} s{told}; its log is {self.log}.")
            time.sleep(_ASK_AGAIN_S)
