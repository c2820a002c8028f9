"""What an image has as /venv, and its variables, without an engine: the builder stage's own script, the Dockerfile's own ENV."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ADDRESSES = dict(re.findall(r"\b([A-Z]+_(?:HOST|PORT))=(\S+)", DOCKERFILE))


def install(service: str, folder: Path, source: Path = ROOT) -> Path:
    """The environment of the image `service` under `folder`. CalledProcessError with what the script said where it refuses."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "UV_PYTHON_DOWNLOADS": "never"}
    command = ["sh", "deploy/image/install.sh", service, folder / service]
    # `make setup` has brought it all into uv's cache: without the network it is quicker, and works where there is none
    done = subprocess.run(command, cwd=source, env={**environment, "UV_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "disabled" in done.stderr:
        shutil.rmtree(folder / service, ignore_errors=True)
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    done.check_returncode()
    return folder / service


def variables(service: str, environment: Path) -> dict[str, str]:
    """Those that the Dockerfile sets, for an environment that is not at /venv."""
    python = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    assert all(f"{name}={value}" in DOCKERFILE for name, value in python.items())
    return {**python, **ADDRESSES, "SERVICE": service, "PATH": f"{environment}/bin:{os.environ['PATH']}"}
