"""How far an import has come, in a small file beside the export, so that an interrupted one goes on where it was."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from closedloop.cli.imports.mapping import Mapping
from closedloop.cli.problems import CommandFailed

SUFFIX: Final = ".closedloop-progress"


class State(msgspec.Struct, kw_only=True):
    """What is done: every row up to `row` was accepted or stands in the rejects file, whose first `rejects_bytes` belong to it."""

    version: int = 1
    file_sha256: str
    mapping_sha256: str
    url: str
    row: int = 0
    accepted: int = 0
    rejected: int = 0
    rejects_bytes: int = 0
    reasons: dict[str, int] = {}


@dataclass
class Checkpoint:
    """The progress file of one import. `state` is written by `save`, atomically; `finish` removes it."""

    path: Path
    state: State
    resumed: bool = False
    started_over_because: str | None = field(default=None)

    @classmethod
    def open(cls, export: Path, mapping: Mapping, url: str, *, restart: bool = False) -> "Checkpoint":
        """Where an earlier run of the same import stopped; the beginning where file, mapping or address are not the same."""
        path = export.with_name(export.name + SUFFIX)
        fresh = State(
            file_sha256=_sha256(export), mapping_sha256=hashlib.sha256(mapping.fingerprint().encode()).hexdigest(), url=url
        )
        if restart:
            return cls(path, fresh)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return cls(path, fresh)
        except (msgspec.DecodeError, OSError):
            return cls(path, fresh, started_over_because=f"{path.name} cannot be read")
        if found.file_sha256 != fresh.file_sha256:
            return cls(path, fresh, started_over_because=f"{export.name} has changed since the last run")
        if found.mapping_sha256 != fresh.mapping_sha256:
            return cls(path, fresh, started_over_because="the mapping has changed since the last run")
        if found.url != url:
            return cls(path, fresh, started_over_because="the last run sent to another address")
        return cls(path, found, resumed=found.row > 0)

    def save(self) -> None:
        """Write the state, whole or not at all. CommandFailed where the folder is not writable."""
        written = self.path.with_name(self.path.name + ".new")
        try:
            written.write_bytes(msgspec.json.encode(self.state))
            written.replace(self.path)
        except OSError as error:
            raise CommandFailed(
                f"{self.path} cannot be written ({error.strerror}); copy the export to a folder of your own and import it there."
            ) from None

    def finish(self) -> None:
        """All is done: forget."""
        self.path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
