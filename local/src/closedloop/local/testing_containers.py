"""The tests' shared servers as Docker containers: CLOSEDLOOP_TEST_CONTAINERS=1, where an engine runs.

The same tests, on the images that docker-compose.yml names. Against a Docker engine this was NOT run where it was written, because
there was none: tests/local/test_testing_containers.py shows only what an engine is asked for.
"""

import contextlib
import os
from collections.abc import Iterator

from closedloop.local.jars import KAFKA_VERSION
from closedloop.local.ports import free_port
from closedloop.local.problems import LocalStackError

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
POSTGRES_IMAGE = "postgres:18.6-trixie"
POSTGRES_INITDB_ARGS = "--auth-host=scram-sha-256 --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"
READY_WITHIN_S = 120
_KAFKA = {
    "CLUSTER_ID": "Y2xvc2VkLWxvb3AtdGVzdA",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_NODE_ID": "1",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENERS": "INSIDE://:19092,OUTSIDE://:9092,CONTROLLER://:29093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
    "KAFKA_LOG_DIRS": "/tmp/kafka",  # noqa: S108 (in the container)
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_MESSAGE_MAX_BYTES": str(2 * 1024 * 1024),
}


def wanted() -> bool:
    """Whether this test run was asked to use containers."""
    return os.environ.get("CLOSEDLOOP_TEST_CONTAINERS") == "1"


@contextlib.contextmanager
def kafka() -> Iterator[str]:
    """Bootstrap servers of a broker in a container."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    with _engine_needed():
        container = DockerContainer(KAFKA_IMAGE)
    # a broker tells its clients where it is, so the port outside is chosen before it starts
    outside = f"{container.get_docker_client().host()}:{(port := free_port())}"
    container.with_envs(**_KAFKA, KAFKA_ADVERTISED_LISTENERS=f"INSIDE://localhost:19092,OUTSIDE://{outside}")
    container.with_bind_ports(9092, port)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(READY_WITHIN_S))
    with container:
        yield outside


@contextlib.contextmanager
def postgres(password: str) -> Iterator[str]:
    """The administrator's URL of a PostgreSQL server in a container."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import ExecWaitStrategy

    with _engine_needed():
        container = DockerContainer(POSTGRES_IMAGE)
    container.with_envs(POSTGRES_PASSWORD=password, POSTGRES_INITDB_ARGS=POSTGRES_INITDB_ARGS)
    container.with_command(["postgres", "-c", "max_connections=200", "-c", "timezone=UTC"])
    container.with_bind_ports(5432, port := free_port())
    # over TCP: while it makes its data folder it listens on a socket only
    ready = ExecWaitStrategy(["pg_isready", "-h", "127.0.0.1", "-U", "postgres"])
    container.waiting_for(ready.with_startup_timeout(READY_WITHIN_S))
    with container:
        yield f"postgresql://postgres:{password}@{container.get_docker_client().host()}:{port}/postgres"


@contextlib.contextmanager
def _engine_needed() -> Iterator[None]:
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        yield
    except DockerException as error:
        raise LocalStackError(
            f"CLOSEDLOOP_TEST_CONTAINERS=1 and no Docker engine answers ({error}): "
            "start one, or unset it to test on our own servers."
        ) from error
