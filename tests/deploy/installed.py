"""What an image has as /venv, and its variables, without an engine: the builder stage's own script, the Dockerfile's own ENV."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ADDRESSES = dict(re.findall(r"\b([A-Z]+_(?:HOST|PORT))=(\S+)", DOCKERFILE))


def install(service: str, folder: Path, source: Path = ROOT) -> Path:
    """The environment of the image `service` under `folder`. CalledProcessError with what the script said where it refuses."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "UV_PYTHON_DOWNLOADS": "never"}
    command = ["sh", "deploy/image/install.sh", service, str(folder / service)]
    # `make setup` has brought it all into uv's cache: without the network it is quicker, and works where there is none
    done = subprocess.run(command, cwd=source, env={**environment, "UV_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "disabled" in done.stderr:
        shutil.rmtree(folder / service, ignore_errors=True)
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    done.check_returncode()
    return folder / service


def variables(service: str, environment: Path) -> dict[str, str]:
    """Those that the Dockerfile sets, for an environment that is not at /venv."""
    python = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}
    assert all(f"{name}={value}" in DOCKERFILE for name, value in python.items())
    return {**python, **ADDRESSES, "SERVICE": service, "PATH": f"{environment}/bin:{os.environ['PATH']}"}


def libraries(environment: Path) -> set[str]:
    """What is installed there, as name==version; of ours the names."""
    uv = Path(sys.executable).with_name("uv")
    listed = subprocess.run(
        [str(uv), "pip", "freeze", "--python", str(environment / "bin/python")], capture_output=True, text=True, check=True
    )
    return {line.partition(" @ ")[0] for line in listed.stdout.splitlines()}


def needed(image: str) -> set[str]:
    """What its own package declares and that needs in turn, in the lock's versions, in the form of `libraries`."""
    own = {"closedloop-common", "closedloop-cli" if image == "tools" else f"closedloop-{image}"}
    found = set().union(*(_closure(name) for name in own)) - own
    # of `local` the tools have the token issuer only, without what else it would bring
    ours = own | ({"closedloop-local"} if image == "tools" else set())
    entries = re.findall(r"^([a-z][^\\]+?) *\\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    here = [entry for entry in map(Requirement, entries) if entry.marker is None or entry.marker.evaluate()]
    locked: dict[str, str] = {canonicalize_name(entry.name): str(entry.specifier) for entry in here}
    return {name + locked[name] for name in found} | ours


def _closure(name: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> set[str]:
    """All that a distribution installed beside us needs, on this machine."""
    seen = set() if seen is None else seen
    seen.add(canonicalize_name(name))
    for line in importlib.metadata.requires(name) or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
        if wanted and (requirement.extras or canonicalize_name(requirement.name) not in seen):
            _closure(requirement.name, frozenset(requirement.extras), seen)
    return seen
