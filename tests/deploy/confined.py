"""A program as a hardened container runs it, without an engine: its root cannot be written, it has no privilege and gets none."""

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))),
    reason="only root can make a root that cannot be written (Linux, with util-linux' unshare and setpriv)",
)


def confined(command: Iterable[str | Path], *, writable: Iterable[Path] = ()) -> list[str]:
    """The command line that runs `command` so; only the folders `writable` can be written."""
    mounts = ["mount --make-rprivate /", *(f"mount --bind {folder} {folder}" for folder in writable), "mount -o remount,bind,ro /"]
    powerless = [
        "setpriv",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        *([] if writable else _as_the_images_user()),
    ]
    return ["unshare", "--mount", "--", "sh", "-ec", "; ".join([*mounts, 'exec "$@"']), "sh", *powerless, "--", *map(str, command)]


def _as_the_images_user() -> list[str]:
    # where only root can reach the interpreter itself, it stays root, powerless all the same
    ways = Path(sys.executable).resolve().parents
    return ["--reuid=65532", "--regid=65532", "--clear-groups"] if all(way.stat().st_mode & 0o001 for way in ways) else []
