"""Documents whose code blocks run as written, in order; only ports and folders are the test's own."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from closedloop.local.addresses import Ports, variable_of
from closedloop.local.testing import temporary_folder

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN_S = 180
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language and what stands in it."""

    language: str
    text: str

    @property
    def file_name(self) -> str:
        """The name in a program's first line, a comment."""
        return self.text.partition("\n")[0].lstrip("#/ ")


def blocks_of(document: str) -> list[Block]:
    """All blocks of a document in the repository, in order."""
    return [Block(*found) for found in _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class System:
    """A whole system that runs, with its settings as environment variables."""

    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        """Of its state; blocks may leave their files there."""
        return Path(self.environment["CLOSEDLOOP_VAR"])

    def port(self, name: str) -> str:
        """Of a service, kafka or postgres."""
        return self.environment[variable_of(name)]

    def own(self, text: str) -> str:
        """As written but for ports and folders."""
        for name, default in vars(Ports()).items():
            text = text.replace(f"127.0.0.1:{default}", f"127.0.0.1:{self.port(name)}")
        return text.replace("/tmp/", f"{self.folder}/").replace("=var/env", f"={self.folder}/env")  # noqa: S108

    def run(self, scripts: Sequence[str], within_s: float = 180) -> list[str]:
        """Run them in one shell, one after the other → what each printed. AssertionError where one fails."""
        ends = "---- end of a block ----"
        script = "set -euo pipefail\n" + "".join(f"{one}\necho; echo '{ends}'\n" for one in scripts)
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=within_s, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.split(ends)[:-1]


@contextlib.contextmanager
def running_system() -> Iterator[System]:
    """`make run` on free ports, in a folder of its own."""
    ports = Ports.free()
    with temporary_folder() as folder, (folder / "run.log").open("w+") as log:
        own = {variable_of(name): str(port) for name, port in vars(ports).items()}
        environment = {**os.environ, **own, "CLOSEDLOOP_VAR": str(folder)}
        system = subprocess.Popen(["make", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + READY_WITHIN_S
            while "Everything is ready." not in Path(log.name).read_text():
                assert system.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()[-2000:]
                time.sleep(0.2)
            yield System(environment)
        finally:
            os.killpg(system.pid, signal.SIGINT)
            system.wait(30)
