"""The state folder of a stack: one owner at a time, room on the disk, secrets that only the owner reads."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path

from closedloop.local.problems import LocalStackError

_ROOM_NEEDED = 2 * 1024**3


class StateFolder:
    """`var/`: made when needed, held by one running stack (a lock that the kernel releases even after SIGKILL)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def take(self) -> None:
        """LocalStackError where another stack holds it, it cannot be written, or the disk is nearly full."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "stack.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LocalStackError(
                f"The state folder {self.path} cannot be written ({error.strerror}): fix its permissions, "
                "or choose another with CLOSEDLOOP_VAR=/some/folder."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            raise LocalStackError(
                f"A stack with the state folder {self.path} is running already (pid {pid or 'unknown'}): use it, "
                f"or end it with Ctrl-C in its window{f' or `kill {pid}`' if pid else ''}."
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock
        free = shutil.disk_usage(self.path).free
        if free < _ROOM_NEEDED:
            self.release()
            raise LocalStackError(
                f"Only {free / 1024**3:.1f} GB are free on the disk of {self.path} and a stack needs 2 GB: "
                "free some, or choose a folder on another disk with CLOSEDLOOP_VAR=/some/folder."
            )

    def release(self) -> None:
        """Let another stack have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> str:
        """A generated password (URL-safe), the same at each start, in a file of mode 0600."""
        path = self.path / "secrets" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            self.write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def has_secret(self, name: str) -> bool:
        """Whether an earlier start has made it."""
        return (self.path / "secrets" / name).is_file()

    @staticmethod
    def write_private(path: Path, text: str) -> None:
        """Write a file that only its owner may read; it appears complete."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)
