"""deploy/k8s as data: the files as they stand in git, and what kustomize builds of an overlay."""

import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from closedloop.local.places import workspace

Resource = dict[str, Any]
K8S = workspace() / "deploy" / "k8s"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "closedloop" / "deploy"
OVERLAYS = ("dev", "dev/migrations", "prod", "prod/migrations")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")


def tool(path: str, what: str) -> Path:
    """A tool that `make deploy-tools` has installed; skips the test where it has not."""
    if not (TOOLS / path).exists():
        pytest.skip(f"{what} is not installed: `make deploy-tools` installs it, or says what it needs for that")
    return TOOLS / path


def resources(path: str) -> list[Resource]:
    """What a file under deploy/k8s holds, or all files of a folder."""
    place = K8S / path
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one and one["kind"] != "Kustomization"]


@functools.cache
def _build(overlay: str, kustomize: Path) -> str:
    done = subprocess.run([kustomize, "build", K8S / "overlays" / overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return done.stdout


def built(overlay: str) -> list[Resource]:
    """What `kubectl apply -k` would send."""
    return list(yaml.safe_load_all(_build(overlay, tool("bin/kustomize-v5.8.0", "kustomize"))))


def of_kind(found: list[Resource], *kinds: str) -> dict[str, Resource]:
    """By name."""
    return {one["metadata"]["name"]: one for one in found if one["kind"] in kinds}


def pods(found: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """(name of the workload, its pod template)."""
    for name, workload in of_kind(found, *WORKLOADS).items():
        job = workload["spec"].get("jobTemplate", workload)
        yield name, job["spec"]["template"]


def projected(pod: Resource) -> dict[str, tuple[str, str]]:
    """File in SECRETS_DIR → (secret, key)."""
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for volume in pod["spec"].get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
