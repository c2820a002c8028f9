"""Puts the Prometheus JMX agent for Kafka's brokers into a folder, pinned by version and checksum, from Maven.

1.0.1 is not its newest; no later one could be had where this was written.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from jgo.config import GlobalSettings
from jgo.maven import MavenContext
from operator_crds import Jar, NotInstalledError, download

AGENT: Final = Jar(
    "jmx_prometheus_javaagent",
    "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1",
    group="io.prometheus.jmx",
    version="1.0.1",
)


def main(cache: Path) -> bool:
    """Whether it is there. It appears under its name only when it is complete."""
    target = cache / f"{AGENT.artifact}-{AGENT.version}.jar"
    if target.exists():
        return True
    with tempfile.TemporaryDirectory(dir=cache, prefix=".making-") as making:
        context = MavenContext(repo_cache=Path(making), remote_repos=GlobalSettings.load().repositories or None, timeout=20)
        try:
            shutil.move(download(context, AGENT), target)
        except NotInstalledError as reason:
            print(f"deploy-tools: {target.name} is not installed: {reason}", file=sys.stderr)  # noqa: T201 (a command's output)
            return False
    return True


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]).absolute()) else 1)
