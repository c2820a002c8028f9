"""The command line that starts a program through `launcher.py`."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")


def launcher_command(
    program: Sequence[str | Path],
    *,
    death_signal: signal.Signals = signal.SIGTERM,
    user: tuple[int, int] | None = None,
) -> list[str]:
    """`program`, ended with this process (see `spawner` for the catch), and as `user` (uid, gid) where given."""
    uid, gid = user or (-1, -1)
    settings = [os.getpid(), int(death_signal), uid, gid]
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *map(str, settings), *map(str, program)]
