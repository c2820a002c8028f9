"""Ports on the loopback: free ones for tests, and who holds a taken one."""

import os
import random
import socket
from pathlib import Path

# Below the ephemeral range (32768 and up on Linux): while a broker is down, a client that reconnects to a port
# inside that range can be given that very port as its own and connect to itself; then the broker cannot start again.
_LOWEST, _HIGHEST = 20_000, 32_000
_given: set[int] = set()
_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = (_HIGHEST - _LOWEST) // _WORKERS
# each test worker has a share of its own: between choosing a port and listening on it another one would take it
_FIRST = _LOWEST + _SHARE * int(_worker.removeprefix("gw"))


def free_port() -> int:
    """A port on 127.0.0.1 that nobody holds, below the ephemeral range; never the same twice in one process."""
    choice = random.SystemRandom()
    for _ in range(500):
        port = choice.randrange(_FIRST, _FIRST + _SHARE)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free port between {_LOWEST} and {_HIGHEST}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now (a port in TIME_WAIT counts as free)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """`name (pid n)` of the process that listens on the port, where /proc tells; else None."""
    inodes = {inode for table in ("/proc/net/tcp", "/proc/net/tcp6") for inode in _listening(Path(table), port)}
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_is_open(fd, inodes) for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # it ended meanwhile, or belongs to another user
            continue
    return None


def _is_open(fd: Path, inodes: set[str]) -> bool:
    try:
        return str(fd.readlink()).removeprefix("socket:[").removesuffix("]") in inodes
    except OSError:  # closed meanwhile
        return False


def _listening(table: Path, port: int) -> set[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return set()
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
