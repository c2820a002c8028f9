"""What the operating system knows about a process: is it still the same one, who are its descendants."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path


def birth(pid: int) -> str | None:
    """A mark that no later process with the same number has (None: no such process, or it has ended)."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state, _, started = shown.stdout.strip().partition(" ")
        return None if not started or state.startswith("Z") else started.strip()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def family(pid: int) -> list[int]:
    """The process and all its descendants, parents first."""
    children = defaultdict(list)
    for child, parent in _parents().items():
        children[parent].append(child)
    found = [pid]
    for member in found:
        found.extend(children[member])
    return found


def _parents() -> dict[int, int]:
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        return {int(pid): int(parent) for pid, parent in (line.split() for line in shown.splitlines())}
    parents = {}
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(process.parent.name)] = int(process.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return parents


def send(pids: list[int], what: signal.Signals) -> None:
    """The signal to each of them that is still there."""
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def wait_gone(pids: list[int], seconds: float) -> bool:
    """Whether all of them have ended within the time."""
    deadline = time.monotonic() + seconds
    while any(birth(pid) is not None for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
