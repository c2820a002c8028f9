"""Kafka's jars: a pinned list, fetched once through jgo's Maven client, each checked against its SHA-256."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from closedloop.local.problems import LocalStackError

KAFKA_VERSION = "4.3.1"

Progress = Callable[[int, int], None]
"""Called with (bytes that are there, bytes in all) whenever a jar has arrived."""


@dataclass(frozen=True)
class Jar:
    """One pinned file."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned() -> list[Jar]:
    """The committed list, in the order of the class path."""
    return list(_parse(files("closedloop.local").joinpath("kafka-jars.txt").read_text()))


def _parse(text: str) -> Iterator[Jar]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256, size = line.split()
            group, artifact, version = coordinate.split(":")
            yield Jar(group, artifact, version, sha256, int(size))


def provide(cache: Path, progress: Progress = lambda done, total: None) -> list[Path]:
    """Paths of all jars, downloading what is missing into `cache`/kafka-<version>.

    Safe beside another process that does the same: a jar appears under its name only complete and checked.
    """
    folder = cache / f"kafka-{KAFKA_VERSION}"
    jars = pinned()
    missing = [jar for jar in jars if not _is_there(folder, jar)]
    if missing:
        total = sum(jar.size for jar in jars)
        done = total - sum(jar.size for jar in missing)
        progress(done, total)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as download:
                context = MavenContext(
                    repo_cache=Path(download), remote_repos=GlobalSettings.load().repositories or None, timeout=10
                )
                pool = ThreadPoolExecutor(8)
                try:
                    for jar in pool.map(lambda jar: _fetch(context, jar, folder), missing):
                        done += jar.size
                        progress(done, total)
                finally:  # at the first failure or Ctrl-C the rest is not even begun
                    pool.shutdown(wait=True, cancel_futures=True)
        except OSError as error:  # requests' own errors are OSErrors and are turned into a sentence in _fetch
            raise LocalStackError(
                f"Kafka's jars cannot be written to {folder} ({error.strerror}): free some space or fix its "
                "permissions, then run the same command again."
            ) from error
    return [folder / jar.filename for jar in jars]


def _is_there(folder: Path, jar: Jar) -> bool:
    try:
        return (folder / jar.filename).stat().st_size == jar.size
    except FileNotFoundError:
        return False


def _fetch(context: MavenContext, jar: Jar, folder: Path) -> Jar:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        path = artifact.resolve()
    except (requests.RequestException, RuntimeError) as error:
        raise LocalStackError(
            f"{jar.filename} of Kafka {KAFKA_VERSION} could not be downloaded: the first start needs the network "
            "(or a Maven mirror named in ~/.config/jgo.conf); connect it and run the same command again."
        ) from error
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise LocalStackError(
            f"{jar.filename} is not the file that kafka-jars.txt pins (SHA-256 {found[:16]}… instead of "
            f"{jar.sha256[:16]}…): the Maven repository serves another file; use one that you trust."
        )
    shutil.move(path, folder / jar.filename)
    return jar
