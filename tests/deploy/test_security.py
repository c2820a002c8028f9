"""A service's own users of Kafka and PostgreSQL let it do its work and nothing else: real servers, TLS, passwords, rules.

Kafka is KRaft with SASL_SSL, SCRAM-SHA-512 and StandardAuthorizer. PostgreSQL with TLS is Debian's, where it is installed: the one
in the wheel has no OpenSSL, and serves without TLS where there is no other. Debian's version is its own (15 where this was
written); that of the local stack and docker-compose.yml, 18, is not run with TLS.
"""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError, TopicAuthorizationFailedError
from confluent_kafka import TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pydantic import ValidationError

from closedloop.common.events.topics import PARTITIONS, TOPICS, dead_letter_topics
from closedloop.common.kafka.acls import ACLS, OPERATOR, PRODUCER, Acl, principal_of
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.refusals import refusal
from closedloop.common.kafka.source import KafkaSource
from closedloop.common.postgres.migrations import migrate
from closedloop.common.settings import wrong_settings
from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.certificates import Authority
from closedloop.local.kafka import KafkaServer
from closedloop.local.kafka_security import ADMIN, KafkaSecurity
from closedloop.local.ports import free_port
from closedloop.local.postgres import PostgresServer
from closedloop.local.service import Service
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from e2e.conftest import call

USERS = (*(principal_of(service) for service in SERVICES), OPERATOR, PRODUCER)
ALL_TOPICS = tuple(topic.name for topic in (*TOPICS, *dead_letter_topics()))
GROUPS = tuple(sorted({acl.name for acl in ACLS if acl.resource == "group"}))
DEBIAN = next((found.parent for found in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
needs_debian = pytest.mark.skipif(
    DEBIAN is None,
    reason="the wheel's PostgreSQL has no OpenSSL: install another with `make deploy-tools` (Debian: apt install postgresql)",
)
OPERATIONS = {name: getattr(AclOperation, re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()) for acl in ACLS for name in acl.operations}


@dataclass(frozen=True)
class Guarded:
    """A broker that knows its clients."""

    authority: Authority
    passwords: Mapping[str, str]
    bootstrap: str

    def environment(self, user: str) -> dict[str, str]:
        """A Kafka user's own, for a process."""
        return {
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": self.passwords[user],
            "KAFKA_SSL_CA_FILE": str(self.authority.certificate),
        }

    def kafka(self, user: str) -> KafkaSettings:
        return settings(**self.environment(user))

    def admin(self, user: str = ADMIN) -> AdminClient:
        """librdkafka's, which knows what aiokafka's does not: rules, and what a user may do."""
        return AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": user,
                "sasl.password": self.passwords[user],
                "ssl.ca.location": str(self.authority.certificate),
            }
        )


@dataclass(frozen=True)
class Secured(Guarded):
    """A running stack whose servers know their clients."""

    stack: Stack


def settings(**environment: str) -> KafkaSettings:
    with only(environment):
        return KafkaSettings()


@contextlib.contextmanager
def only(environment: Mapping[str, str]) -> Iterator[None]:
    """This process has these settings for Kafka and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("KAFKA_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with temporary_folder() as folder:
        authority = Authority(folder / "authority")
        passwords = {user: secrets.token_urlsafe(16) for user in (ADMIN, *USERS)}
        kafka = KafkaServer(folder / "kafka", free_port(), security=KafkaSecurity(authority, passwords))
        postgres = PostgresServer(
            folder / "postgres",
            free_port(),
            secrets.token_urlsafe(16),
            programs=DEBIAN,
            authority=authority if DEBIAN else None,
        )
        kafka.launch()
        postgres.launch()
        try:
            postgres.wait_ready()
            kafka.wait_ready()
            guarded = Guarded(authority, passwords, kafka.bootstrap)
            add_rules(guarded.admin(), ACLS)
            stack = Stack(
                folder / "stack",
                Ports.free(),
                {"KAFKA_BOOTSTRAP": kafka.bootstrap, "DATABASE_URL": postgres.admin_url},
                environment_of={service: guarded.environment(principal_of(service)) for service in SERVICES},
            )
            with only(guarded.environment(OPERATOR)):  # who makes the topics
                stack.start()
            yield Secured(authority, passwords, kafka.bootstrap, stack)
            stack.stop()
        finally:
            kafka.stop()
            postgres.stop()


def add_rules(admin: AdminClient, acls: tuple[Acl, ...]) -> None:
    bindings = [
        AclBinding(
            ResourceType[acl.resource.upper()],
            acl.name,
            ResourcePatternType.LITERAL,
            f"User:{acl.principal}",
            "*",
            OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for acl in acls
        for operation in acl.operations
    ]
    for made in admin.create_acls(bindings).values():
        made.result(20)


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await holds()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    return found


# --- each does its work ---


async def test_each_service_does_its_work_as_its_own_user(secured: Secured) -> None:
    stack = secured.stack
    admin = stack.token("admin")
    at = datetime.now(UTC) - timedelta(minutes=3)
    rating = {
        "customer_id": "c-1",
        "region": "NJ",
        "kind": "survey",
        "score": 1,
        "contact_id": "k-1",
        "occurred_at": at.isoformat(),
    }
    escalation = {
        "type": "complaint.escalated.v1",
        "customer_id": "c-2",
        "region": "NJ",
        "complaint_id": "p-1",
        "topic_path": "top_up/unionpay_not_credited",
        "occurred_at": at.isoformat(),
    }
    order = {
        "customer_id": "c-3",
        "region": "NJ",
        "order_id": "o-1",
        "order_type": "new_install",
        "status": "submitted",
        "occurred_at": at.isoformat(),
    }
    for path, body in (("evaluations", rating), ("complaints", escalation), ("orders", order)):
        status, _, answer = call(stack, "ingest", "POST", f"/v1/{path}", admin, body)
        assert (status, answer["accepted"]) == (202, 1), answer

    async def listed(service: str, path: str) -> Any:
        return call(stack, service, "GET", path, admin)[2]["items"]

    async def counted(indicator: str) -> Any:
        later = quote((datetime.now(UTC) + timedelta(minutes=2)).isoformat())
        return call(stack, "kpi", "GET", f"/v1/indicators/{indicator}/value?window=1h&at={later}", admin)[2]["sample"]

    # through `evaluations` into recovery's queue, through `complaints` to a ticket
    [recovery] = await until(lambda: listed("recovery", "/v1/recoveries?customer_id=c-1"))
    [ticket] = await until(lambda: listed("ticketing", "/v1/tickets"))
    assert (recovery["region"], ticket["regions"]) == ("NJ", ["NJ"])
    # kpi counts what came, and what recovery and ticketing said of it on their own topics
    for indicator in ("dissatisfied_share", "recoveries_queued", "tickets_opened"):
        assert await until(functools.partial(counted, indicator)) == 1, indicator


async def test_what_cannot_be_understood_goes_to_the_readers_own_dead_letters(secured: Secured) -> None:
    producer = AIOKafkaProducer(**secured.kafka(PRODUCER).client_options(), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait("evaluations", b"not an event", b"c-9")
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        "evaluations-kpi-dlq",
        "evaluations-recovery-dlq",
        **secured.kafka(OPERATOR).client_options(),
        auto_offset_reset="earliest",
    )
    await consumer.start()
    found: set[str] = set()
    try:
        async with asyncio.timeout(30):
            while len(found) < 2:
                found |= {record.topic for records in (await consumer.getmany(timeout_ms=500)).values() for record in records}
    finally:
        await consumer.stop()


def test_the_command_works_as_the_operators_user(secured: Secured) -> None:
    database = {f"{service.upper()}_DATABASE_URL": secured.stack.database_url(service) for service in SERVICES[1:]}
    for arguments in (["topics"], ["dlq", "list"], ["offsets", "show"]):
        done = closedloop(*arguments, **secured.environment(OPERATOR), **database)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    done = closedloop("dlq", "replay", "evaluations-recovery-dlq", "--yes", **secured.environment(OPERATOR))
    assert done.returncode == 0, (done.stdout, done.stderr)


# --- and nothing else ---


@pytest.mark.parametrize("user", USERS)
def test_the_broker_allows_a_user_what_the_table_says_and_no_more(secured: Secured, user: str) -> None:
    """Asked of the broker's own authorizer, about every topic, every group and the cluster."""
    admin = secured.admin(user)
    expected = {(acl.resource, acl.name): implied(acl) for acl in ACLS if acl.principal == user}
    topics = admin.describe_topics(TopicCollection(list(ALL_TOPICS)), include_authorized_operations=True)
    groups = admin.describe_consumer_groups(list(GROUPS), include_authorized_operations=True)
    found = {("topic", name): allowed(answer) for name, answer in topics.items()}
    found |= {("group", name): allowed(answer) for name, answer in groups.items()}
    assert {what: operations for what, operations in found.items() if operations} == expected
    cluster = admin.describe_cluster(include_authorized_operations=True).result(20)
    assert not cluster.authorized_operations


def implied(acl: Acl) -> set[Any]:
    given = {OPERATIONS[operation] for operation in acl.operations}
    if given & {AclOperation.READ, AclOperation.WRITE}:
        given.add(AclOperation.DESCRIBE)
    return given


def allowed(answer: Any) -> set[Any]:
    try:
        return set(answer.result(20).authorized_operations or ())
    except Exception as refused:
        assert "authoriz" in str(refused).lower(), refused
        return set()


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("closedloop-recovery", "evaluations"),
        ("closedloop-recovery", "evaluations-kpi-dlq"),
        ("closedloop-kpi", "tickets"),
        ("closedloop-ingest", "recoveries"),
        ("closedloop-producer", "indicators"),
    ],
)
async def test_nobody_writes_what_is_anothers_to_say(secured: Secured, user: str, topic: str) -> None:
    producer = AIOKafkaProducer(**secured.kafka(user).client_options())
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic, b"{}")
    finally:
        await producer.stop()


@pytest.mark.parametrize(
    ("user", "topic", "group", "refused"),
    [
        ("closedloop-ingest", "evaluations", None, TopicAuthorizationFailedError),
        ("closedloop-ticketing", "evaluations", "closedloop-ticketing", TopicAuthorizationFailedError),
        ("closedloop-recovery", "evaluations", "closedloop-kpi", GroupAuthorizationFailedError),
        ("closedloop-producer", "evaluations", None, TopicAuthorizationFailedError),
    ],
)
async def test_nobody_reads_what_is_not_for_it(
    secured: Secured, user: str, topic: str, group: str | None, refused: type[KafkaError]
) -> None:
    consumer = AIOKafkaConsumer(
        topic, **secured.kafka(user).client_options(), group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        with pytest.raises(refused):
            async with asyncio.timeout(20):
                await consumer.start()
                await consumer.getmany(timeout_ms=5000)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("user", [principal_of(service) for service in SERVICES])
async def test_a_service_can_neither_make_nor_delete_topics(secured: Secured, user: str) -> None:
    admin = AIOKafkaAdminClient(**secured.kafka(user).client_options())
    await admin.start()
    try:
        made = await admin.create_topics([NewTopic("its-own", 1, 1)])
        gone = await admin.delete_topics(["evaluations"])
    finally:
        await admin.close()
    assert [code for _, code, *_ in made.topic_errors] == [29]
    assert [code for _, code in gone.topic_error_codes] == [29]


# --- what a service says when it is not let in ---


async def test_a_service_whose_password_is_wrong_says_so_and_what_to_do(secured: Secured) -> None:
    refused = [secured.stack.add_instance(name, "refused", free_port()) for name in ("recovery", "ingest")]
    for service in refused:
        service.launch({"KAFKA_SASL_PASSWORD": "hush-wrong"})
    try:
        for service in refused:
            sentence = f"does not accept the password of its user closedloop-{service.name} (SCRAM-SHA-512): correct"
            await until(functools.partial(says, service, sentence))
            assert sentence in service.log.read_text()
    finally:
        for service in refused:
            service.stop()
    assert not any("hush" in service.log.read_text() for service in refused)


def test_ingest_without_the_rule_for_its_topics_accepts_nothing_and_logs_why(secured: Secured) -> None:
    port = free_port()
    service = secured.stack.add_instance("ingest", "without-rules", port)
    service.launch(secured.environment("closedloop-kpi"))  # who may read there
    try:
        service.wait_ready()
        at = datetime.now(UTC).isoformat()
        rating = {"customer_id": "c-8", "region": "NJ", "kind": "survey", "score": 9, "contact_id": "k-8", "occurred_at": at}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secured.stack.token('producer')}"}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/evaluations", json.dumps(rating), headers)
        assert connection.getresponse().status == 503
        connection.close()
        sentence = "the Kafka user closedloop-kpi may not use the topic evaluations: give it the rules that"
        deadline = time.monotonic() + 30
        while sentence not in service.log.read_text():  # the reason is asked for beside the answer
            assert time.monotonic() < deadline, service.log.read_text()[-2000:]
            time.sleep(0.1)
    finally:
        service.stop()


async def says(service: Service, sentence: str) -> bool:
    status, body = service.readiness() or (0, "")
    return status == 503 and sentence in body


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"KAFKA_SSL_CA_FILE": "other"}, "the certificate of Kafka at 127.0.0.1:"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CA_FILE": ""}, "is SASL_PLAINTEXT what that port speaks"),
        ({"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, "does not offer SCRAM-SHA-256: set KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_USERNAME": PRODUCER}, f"the Kafka user {PRODUCER} may not use the"),
    ],
)
async def test_a_consumer_that_kafka_refuses_says_why(
    secured: Secured, changed: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    environment = {**secured.environment("closedloop-recovery"), **changed}
    environment["KAFKA_SASL_PASSWORD"] = secured.passwords[environment["KAFKA_SASL_USERNAME"]]
    if environment["KAFKA_SSL_CA_FILE"] == "other":
        environment["KAFKA_SSL_CA_FILE"] = str(Authority(tmp_path, "somebody else").certificate)
    source = KafkaSource(settings(**environment), "closedloop-recovery", ["evaluations"])
    try:
        with pytest.raises(KafkaError, match=sentence):
            await source.start()
    finally:
        await source.stop()


async def test_a_clients_certificate_is_shown_where_one_is_wanted(secured: Secured, tmp_path: Path) -> None:
    # the broker's own port for controllers wants one; a connection is ready once the server has answered
    folder = secured.stack.var.parent
    issued = secured.authority.issue("somebody")
    environment = {
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{(folder / 'kafka' / 'controller.port').read_text()}",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA_FILE": str(secured.authority.certificate),
    }
    unable = KafkaConnectionError("unable to bootstrap")
    assert "hung up" in (await refusal(unable, settings(**environment)) or "")
    environment |= {"KAFKA_SSL_CERTIFICATE_FILE": str(issued.certificate), "KAFKA_SSL_KEY_FILE": str(issued.key)}
    assert await refusal(unable, settings(**environment)) is None


def test_the_command_says_that_the_password_is_wrong(secured: Secured) -> None:
    done = closedloop("topics", **secured.environment(OPERATOR) | {"KAFKA_SASL_PASSWORD": "hush-wrong"})
    assert done.returncode == 1
    assert "does not accept the password of its user closedloop-operator" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_no_secret_is_in_any_log(secured: Secured) -> None:
    logs = "".join(path.read_text(errors="replace") for path in (secured.stack.var / "log").glob("*.log"))
    urls = [secured.stack.admin_url, *(secured.stack.database_url(service) for service in SERVICES[1:])]
    for secret in (*secured.passwords.values(), *(urlsplit(url).password or "?" for url in urls)):
        assert secret not in logs


async def test_a_database_password_that_was_changed_is_waited_for_and_no_record_becomes_a_dead_letter(secured: Secured) -> None:
    stack, recovery = secured.stack, secured.stack.service("recovery")
    token = stack.token("admin")
    before = await letters(secured, "evaluations-recovery-dlq")
    connection = await asyncpg.connect(stack.admin_url)
    try:
        [kept] = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolname = 'closedloop_recovery'")
        await connection.execute("ALTER ROLE closedloop_recovery PASSWORD 'another'")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'closedloop_recovery'")
        at = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
        rating = {"customer_id": "c-7", "region": "NJ", "kind": "survey", "score": 1, "contact_id": "k-7", "occurred_at": at}
        assert call(stack, "ingest", "POST", "/v1/evaluations", token, rating)[0] == 202
        await until(functools.partial(says, recovery, "does not accept the password in RECOVERY_DATABASE_URL"))
        await until(functools.partial(says, recovery, "waits for Kafka or PostgreSQL: PostgreSQL does not accept the password"))
        await connection.execute(f"ALTER ROLE closedloop_recovery PASSWORD '{kept['rolpassword']}'")
    finally:
        await connection.close()
    await asyncio.to_thread(recovery.wait_working)

    async def queued() -> Any:
        return call(stack, "recovery", "GET", "/v1/recoveries?customer_id=c-7", token)[2]["items"]

    assert len(await until(queued)) == 1
    assert await letters(secured, "evaluations-recovery-dlq") == before


async def letters(secured: Secured, topic: str) -> int:
    consumer = AIOKafkaConsumer(**secured.kafka(OPERATOR).client_options())
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
    finally:
        await consumer.stop()
    return sum(ends.values())


# --- PostgreSQL's roles, as the migrations of the real services have made them ---


@pytest.mark.parametrize("service", SERVICES[1:])
async def test_a_services_role_is_refused_what_is_anothers_and_what_is_the_administrators(secured: Secured, service: str) -> None:
    admin = await asyncpg.connect(secured.stack.admin_url)
    tables = await admin.fetch(
        "SELECT schemaname AS schema, tablename AS name FROM pg_tables "
        "WHERE schemaname = ANY($1) AND tablename <> 'alembic_version'",
        SERVICES[1:],
    )
    await admin.close()
    others = [f"{table['schema']}.{table['name']}" for table in tables if table["schema"] != service]
    own = [f"{service}.{table['name']}" for table in tables if table["schema"] == service]
    histories = [table for table in own if table.endswith("history")]
    assert len(own) > 3
    assert len(others) > 8
    assert histories
    forbidden = [
        *(f"SELECT 1 FROM {table}" for table in others),
        *(f"DELETE FROM {table}" for table in others),
        f"CREATE TABLE {service}.made (id int)",
        *(f"ALTER TABLE {table} ADD COLUMN more text" for table in own),
        *(f"DROP TABLE {table}" for table in own),
        *(f"TRUNCATE {table}" for table in own),
        f"DROP SCHEMA {service} CASCADE",
        "CREATE SCHEMA its_own",
        "CREATE ROLE somebody",
        f"SELECT 1 FROM {service}.alembic_version",
    ]
    connection = await asyncpg.connect(secured.stack.database_url(service))
    try:
        assert await connection.fetchval("SELECT current_user") == f"closedloop_{service}"
        for table in own:
            await connection.fetch(f"SELECT 1 FROM {table} LIMIT 1")
        for statement in forbidden:
            await is_refused(connection, statement)
        for table in histories:
            column = await connection.fetchval(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND attidentity = ''", table
            )
            await is_refused(connection, f"UPDATE {table} SET {column} = {column}")
            await is_refused(connection, f"DELETE FROM {table}")
    finally:
        await connection.close()


async def is_refused(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> None:
    """For want of the privilege, and not for anything else."""
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return
    pytest.fail(f"PostgreSQL did what no service may: {statement}")


# --- PostgreSQL over TLS ---


@needs_debian
async def test_every_connection_to_postgresql_is_encrypted(secured: Secured) -> None:
    connection = await asyncpg.connect(secured.stack.admin_url)
    try:
        rows = await connection.fetch(
            "SELECT usename, ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
        )
    finally:
        await connection.close()
    assert {row["usename"] for row in rows} >= {"closedloop_kpi", "closedloop_ticketing", "closedloop_recovery"}
    assert {(row["ssl"], row["version"]) for row in rows} == {(True, "TLSv1.3")}


@needs_debian
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sslmode=disable", "PostgreSQL refuses this way in"),
        ("sslmode=verify-full&sslrootcert={other}", "the certificate of PostgreSQL is not trusted"),
    ],
)
async def test_postgresql_is_not_reached_without_tls_or_under_another_authority(
    secured: Secured, query: str, sentence: str, tmp_path: Path
) -> None:
    query = query.format(other=Authority(tmp_path, "somebody else").certificate)
    url = secured.stack.database_url("recovery").partition("?")[0] + f"?{query}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", secured.stack.admin_url.partition("?")[0] + f"?{query}")
        with pytest.raises(SystemExit, match=sentence):
            await asyncio.to_thread(migrate, "recovery", url, tmp_path)
    if "disable" in query:
        done = await asyncio.to_thread(
            lambda: closedloop("offsets", "show", "recovery", RECOVERY_DATABASE_URL=url, **secured.environment(OPERATOR))
        )
        assert done.returncode == 1
        assert sentence in done.stderr
        return
    service = secured.stack.add_instance("recovery", "astray", free_port())
    service.launch({"RECOVERY_DATABASE_URL": url})
    try:
        await until(functools.partial(says, service, sentence))
    finally:
        service.stop()


# --- settings ---


SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "closedloop-kpi", "KAFKA_SASL_PASSWORD": "hush"}


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({**SASL, "KAFKA_SASL_USERNAME": ""}, "KAFKA_SASL_USERNAME must be set with KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        ({**SASL, "KAFKA_SASL_PASSWORD": ""}, "KAFKA_SASL_PASSWORD must be set with KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        (
            {**SASL, "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
            "KAFKA_SASL_USERNAME is not used with KAFKA_SECURITY_PROTOCOL=PLAINTEXT",
        ),
        ({**SASL, "KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL: Input should be"),
        ({**SASL, "KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM: Input should be"),
        ({**SASL, "KAFKA_SSL_CA_FILE": "/not/there.pem"}, "KAFKA_SSL_CA_FILE: /not/there.pem cannot be used (No such file"),
        ({**SASL, "KAFKA_SSL_CA_FILE": __file__}, "cannot be used (it is no such PEM file)"),
        ({**SASL, "KAFKA_SSL_KEY_FILE": "/a.key"}, "KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE belong together"),
        ({"KAFKA_SSL_CA_FILE": "/a.pem"}, "KAFKA_SSL_… is not used with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_a_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**environment)
    assert sentence in wrong_settings(refused.value)
    assert "hush" not in str(refused.value)


def test_a_service_with_settings_that_do_not_fit_says_so_and_is_not_started_again() -> None:
    command = [sys.executable, "-m", "closedloop.recovery", "serve"]
    done = subprocess.run(command, env=clean() | SASL | {"KAFKA_SASL_USERNAME": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr == "recovery cannot start: KAFKA_SASL_USERNAME must be set with KAFKA_SECURITY_PROTOCOL=SASL_SSL.\n"


def test_a_password_is_in_no_representation() -> None:
    kafka = settings(**SASL)
    assert "hush" not in f"{kafka!r} {kafka} {kafka.model_dump()} {kafka.model_dump_json()}"
    assert kafka.client_options()["sasl_plain_password"] == "hush"


# --- the page ---


def test_the_table_in_the_page_is_the_one_in_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `(closedloop-[a-z]+)` \| ([A-Za-z, ]+) \| (topic|group) \| (.+) \|$", page, re.MULTILINE)
    written = {
        (user, resource, name, frozenset(operations.split(", ")))
        for user, operations, resource, names in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert written == {(acl.principal, acl.resource, acl.name, frozenset(acl.operations)) for acl in ACLS}


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}


def closedloop(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "closedloop.cli", *arguments]
    return subprocess.run(command, env=clean() | environment, capture_output=True, text=True, check=False, timeout=60)
