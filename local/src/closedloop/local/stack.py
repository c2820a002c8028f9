"""The whole system on one machine: Kafka, PostgreSQL, topics, migrations, services. Tests use it as a class."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from closedloop.local import jars, prepare
from closedloop.local.addresses import SERVICES, Ports, check_free, variable_of
from closedloop.local.child import end_orphan
from closedloop.local.issuer import ALL_REGIONS, Issuer
from closedloop.local.kafka import KafkaServer
from closedloop.local.postgres import PostgresServer
from closedloop.local.problems import LocalStackError
from closedloop.local.service import Service
from closedloop.local.state import StateFolder
from closedloop.local.warm_up import warm_up

SERVICES_STOP_S = 9.0
_WITHOUT_DATABASE = frozenset({"ingest"})


class Stack:
    """One running system with its state in `var`.

    `environment` goes to every service and may hold KAFKA_BOOTSTRAP and DATABASE_URL: then that server is used and none
    is started; `environment_of` adds what one service alone gets, such as its own Kafka user. `services` says which are
    started. `kafka` and `postgres` are the servers, None where they are the user's. `python` is what migrates and serves: another
    checkout's runs its version.

        with Stack(folder, Ports.free()) as stack:
            post(stack.url("ingest") + "/v1/evaluations", token=stack.token("producer"))
            stack.service("kpi").kill()
            stack.service("kpi").launch({"CRASHPOINT": "consumer.after_commit"})
    """

    def __init__(
        self,
        var: Path,
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        environment_of: Mapping[str, Mapping[str, str]] | None = None,
        services: Sequence[str] = SERVICES,
        kafka_overrides: Mapping[str, str] | None = None,
        postgres_overrides: Mapping[str, str] | None = None,
        python: str = sys.executable,
        say: Callable[[str], None] = lambda sentence: None,
        progress: jars.Progress = lambda done, total: None,
    ) -> None:
        self.ports = ports or Ports()
        self._given = dict(environment or {})
        self._given_of = dict(environment_of or {})
        self._say, self._progress = say, progress
        self._state = StateFolder(var)
        self.var = self._state.path
        self.issuer = Issuer(self.var / "issuer")
        self._names = tuple(services)
        self._python = python
        self._kafka_overrides, self._postgres_overrides = kafka_overrides, postgres_overrides
        self.kafka: KafkaServer | None = None
        self.postgres: PostgresServer | None = None
        self._services: dict[str, Service] = {}

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers, ours or the user's."""
        return self._given.get("KAFKA_BOOTSTRAP") or f"127.0.0.1:{self.ports.kafka}"

    @property
    def admin_url(self) -> str:
        """The database administrator's URL (DATABASE_URL)."""
        given = self._given.get("DATABASE_URL")
        return given or self._own_postgres().url(prepare.DATABASE)

    @property
    def services(self) -> list[Service]:
        """All that were started, further instances too."""
        return list(self._services.values())

    def service(self, label: str) -> Service:
        """A service (or further instance) by its name."""
        return self._services[label]

    def url(self, service: str) -> str:
        """http://127.0.0.1:<port> of a service."""
        return f"http://127.0.0.1:{self.ports.of(service)}"

    def token(self, role: str, subject: str | None = None, regions: Sequence[str] = ALL_REGIONS) -> str:
        """A bearer token of the stack's issuer."""
        return self.issuer.mint(role, subject, regions)

    def database_url(self, service: str) -> str:
        """The URL of a service's own role."""
        given = self._given.get(f"{service.upper()}_DATABASE_URL")
        if given:
            return given
        role = f"closedloop_{service}"
        parts = urlsplit(self.admin_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{self._state.secret(role)}@{host}"))

    def environment(self) -> dict[str, str]:
        """What every service gets; without the administrator's DATABASE_URL, which only migrations have."""
        ours = {variable_of(name): str(self.ports.of(name)) for name in SERVICES}
        ours |= self.issuer.environment()
        ours |= {f"{name.upper()}_DATABASE_URL": self.database_url(name) for name in self._with_database()}
        environment = {**os.environ, **ours, **self._given, "KAFKA_BOOTSTRAP": self.bootstrap}
        environment.pop("DATABASE_URL", None)
        return environment

    def start(self) -> None:
        """Start everything and wait until all is ready. LocalStackError says what stands in the way; nothing is left."""
        self._state.take()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the services, then Kafka, then PostgreSQL: cleanly, within 20 s in all."""
        for service in self.services:
            service.ask_to_stop()
        deadline = time.monotonic() + SERVICES_STOP_S
        for service in self.services:
            if not service.stop(max(0.1, deadline - time.monotonic())):
                self._say(f"{service.label} did not end in time and was killed")
        if self.kafka and not self.kafka.stop(6):
            self._say("Kafka did not end in time and was killed")
        if self.postgres and not self.postgres.stop(4):
            self._say("PostgreSQL did not end in time and was killed")
        self._state.release()

    def add_instance(self, service: str, instance: str, port: int) -> Service:
        """One more process of a service (not started yet): consumers then share the partitions."""
        environment = {**self.environment(), **self._given_of.get(service, {})}
        added = Service(service, port, environment, self.var, instance, self._python)
        self._services[added.label] = added
        return added

    def migrate(self, python: str) -> None:
        """Bring every schema to the newest version that this Python has, whatever runs meanwhile."""
        prepare.migrate(self._with_database(), {**self.environment(), "DATABASE_URL": self.admin_url}, self.var, python)

    def _start(self) -> None:
        for pid_file in sorted((self.var / "run").glob("*.pid")):
            if end_orphan(pid_file):
                self._say(f"ended {pid_file.stem}, left over from a stack that was killed")
        self._create_servers()
        check_free({name: self.ports.of(name) for name in self._own_parts()})
        if self.kafka:
            warm_up(self._say, self._progress)
            self._say("starting Kafka")
            self.kafka.launch()
        if self.postgres:
            self._say("starting PostgreSQL")
            self.postgres.launch()
            self.postgres.wait_ready()
        prepare.create_database(self.postgres.admin_url if self.postgres else self.admin_url, self.postgres, self.var)
        if names := self._with_database():
            self._say(f"migrating {', '.join(names)}")
            self.migrate(self._python)
        if self.kafka:
            self.kafka.wait_ready()
        prepare.create_topics(self.bootstrap, self.kafka)
        self._say(f"starting {', '.join(self._names)}")
        environment = self.environment()
        self._services = {
            name: Service(name, self.ports.of(name), {**environment, **self._given_of.get(name, {})}, self.var, python=self._python)
            for name in self._names
        }
        for service in self.services:
            service.launch()
        for service in self.services:
            service.wait_ready()

    def _create_servers(self) -> None:
        if not self._given.get("KAFKA_BOOTSTRAP"):
            folder = self.var / "kafka"
            end_orphan(folder / "kafka.pid")
            self.kafka = KafkaServer(folder, self.ports.kafka, overrides=self._kafka_overrides, log=self.var / "log" / "kafka.log")
        if not self._given.get("DATABASE_URL"):
            folder = self.var / "postgres"
            end_orphan(folder / "postgres.pid")
            if (folder / "data").exists() and not self._state.has_secret("postgres"):
                raise LocalStackError(
                    f"{folder} holds a database but its password in {self.var / 'secrets' / 'postgres'} is missing: "
                    f"restore that file, or start afresh with 'mv {folder} {folder}.old'."
                )
            self.postgres = PostgresServer(
                folder,
                self.ports.postgres,
                self._state.secret("postgres"),
                overrides=self._postgres_overrides,
                log=self.var / "log" / "postgres.log",
            )

    def _own_parts(self) -> Iterable[str]:
        yield from self._names
        if self.kafka:
            yield "kafka"
        if self.postgres:
            yield "postgres"

    def _own_postgres(self) -> PostgresServer:
        if self.postgres is None:
            raise RuntimeError("the stack was not started")
        return self.postgres

    def _with_database(self) -> list[str]:
        return [name for name in self._names if name not in _WITHOUT_DATABASE]
