"""Where the local stack keeps its things."""

import os
from pathlib import Path


def workspace() -> Path:
    """The checkout this package is installed from (editable), else the current folder."""
    root = Path(__file__).resolve().parents[4]
    return root if (root / "requirements.lock").is_file() else Path.cwd()


def var_dir() -> Path:
    """State of the running stack: databases, topics, secrets, logs. `CLOSEDLOOP_VAR` moves it."""
    return Path(os.environ.get("CLOSEDLOOP_VAR") or workspace() / "var").absolute()


def cache_dir() -> Path:
    """Downloads that may be thrown away and are shared by all checkouts of one user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "closedloop"
