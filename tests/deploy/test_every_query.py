"""A real Prometheus scrapes the real stack, Kafka's broker by its agent and PostgreSQL by its exporter: every query of the
dashboards and every rule is asked, and answers with numbers.

What a healthy system does not show is made to happen: a record that cannot be read, an id with other content, a breach, an
escalation, a call, a contact too many, a store that is looked at and merged. The runbook's commands are run against the same stack.
Prometheus is Debian's (2.42 where this was written), not the 3.14 of docker-compose.yml.
"""

import asyncio
import contextlib
import functools
import http.client
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import pytest
import yaml

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.kafka.sink import KafkaSink, Message
from closedloop.common.settings import OperatorSettings
from closedloop.local.addresses import Ports
from closedloop.local.ports import free_port
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from closedloop.local.warm_up import warm_up
from deploy import servers
from deploy.compose_file import SERVICES
from deploy.indicator_events import messages, past_messages, reports
from deploy.promql import PROMETHEUS, ROOT, dashboards, quantity, queries, rules, tool
from deploy.watching import query
from e2e.conftest import call
from faults.evidence import wait_until

RUNBOOK = ROOT / "docs/runbook.md"
EVERYTHING_WITHIN_S = 150
"""What is judged by its period is looked at once a minute, and then shown within 15 s."""


@pytest.fixture(scope="module")
def agent() -> int:
    """The port of the agent in the broker."""
    return free_port()


@pytest.fixture(scope="module")
def stack(agent: int) -> Iterator[Stack]:
    tool("prometheus")
    servers.postgres_exporter()
    warm_up()  # which starts a broker, too: without the agent, that the cache is made without it
    with pytest.MonkeyPatch.context() as patch, temporary_folder() as folder:
        options = os.environ["KAFKA_JVM_PERFORMANCE_OPTS"]
        patch.setenv("KAFKA_JVM_PERFORMANCE_OPTS", f"{options} {servers.kafka_agent(agent)}")
        with Stack(folder, Ports.free()) as stack:
            yield stack


@pytest.fixture(scope="module")
def prometheus(stack: Stack, agent: int) -> Iterator[int]:
    """The port of one that scrapes the stack and its servers each second."""
    with (
        temporary_folder() as folder,
        servers.watching_postgres(stack.admin_url, folder / "exporter.log") as exporter,
        scraping(stack, folder, {"postgres": exporter, "kafka": agent}) as port,
    ):
        yield port


@contextlib.contextmanager
def scraping(stack: Stack, folder: Path, exporters: dict[str, int]) -> Iterator[int]:
    config = yaml.safe_load((PROMETHEUS / "local.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "rules/*.yml")]
    services = config["scrape_configs"][0]
    for target in services["static_configs"]:
        target["targets"] = [f"127.0.0.1:{stack.ports.of(target['labels']['service'])}"]
    config["scrape_configs"] = [services] + [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]} for name, at in exporters.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.user-assets={RUNBOOK.parent}")
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--web.external-url=http://127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port
    finally:
        running.terminate()
        running.wait(20)


def asked(port: int, path: str, **parameters: str) -> Any:
    """`data` of an answer of Prometheus. AssertionError with its words where it refuses the query."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert answer["status"] == "success", (parameters, answer)
    return answer["data"]


def has_number(port: int, expr: str) -> bool:
    result = asked(port, "query", query=expr)["result"]
    return any(not math.isnan(float(sample["value"][1])) for sample in result)


def test_every_query_answers_with_numbers_and_every_rule_can_be_evaluated(stack: Stack, prometheus: int) -> None:
    open_queries = {(name, title, expr) for name, board in dashboards().items() for title, expr in queries(board)}
    open_queries |= {("rules", rule.get("alert") or rule["record"], quantity(rule["expr"])) for rule in rules()}
    assert len(open_queries) > 120
    asyncio.run(every_indicator_moves(stack))
    started, looked_at_its_store = time.monotonic(), False
    for number in itertools.count():
        asyncio.run(happens(stack, number))
        if not looked_at_its_store and query(stack.admin_url, "SELECT FROM kpi.segment LIMIT 1"):
            # it looks when it starts, and then every ten minutes
            stack.service("kpi").stop()
            stack.service("kpi").start()
            looked_at_its_store = True
        # nobody waits for two hours here: what stands has stood for so long, and the service says it again
        late = "UPDATE kpi.statement_series SET breached_at = breached_at - interval '2 hours' WHERE rank > 0 AND escalations = 0"
        query(stack.admin_url, late)
        with contextlib.suppress(ConnectionRefusedError):  # it has only just been started
            open_queries = {one for one in open_queries if not has_number(prometheus, one[2])}
        if not open_queries:
            break
        assert time.monotonic() - started < EVERYTHING_WITHIN_S, sorted(open_queries)
        time.sleep(1)

    found = [rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    firing = {alert["labels"]["alertname"]: alert for alert in asked(prometheus, "alerts")["alerts"] if alert["state"] == "firing"}
    assert {"DeadLetters", "OtherContent"} <= firing.keys()
    assert not firing.keys() & {"ServiceDown", "InstanceDown", "ConsumerBraked", "Restarting", "ServerUnseen"}
    letters = firing["DeadLetters"]
    with urllib.request.urlopen(letters["annotations"]["runbook_url"], timeout=10) as page:  # noqa: S310
        assert page.read() == RUNBOOK.read_bytes()
    assert letters["annotations"]["summary"].endswith("could not take records from evaluations (stage decode)")
    assert letters["labels"]["owner"] == "integration"


def test_the_servers_exporters_have_the_labels_that_queries_are_checked_against(prometheus: int) -> None:
    of_the_scrape = {"__name__", "job", "instance"}
    for name, labels in servers.METRICS.items():
        is_there = functools.partial(asked, prometheus, "series", **{"match[]": name})
        wait_until(is_there, 20, f"{name} is there")
        series = is_there()
        assert set().union(*(one.keys() for one in series)) - of_the_scrape == labels, name


def test_the_exporters_role_sees_no_row_of_a_service(stack: Stack, prometheus: int) -> None:
    given = SERVICES["postgres-exporter"]["environment"]
    where = urlsplit(stack.admin_url)
    login = f"{given['DATA_SOURCE_USER']}:{given['DATA_SOURCE_PASS']}"
    own = where._replace(netloc=f"{login}@{where.hostname}:{where.port}").geturl()
    assert query(own, "SELECT FROM pg_settings WHERE name = 'data_directory'"), "what only pg_monitor sees"
    for table in ("kpi.segment", "ticketing.ticket", "recovery.recovery"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(own, f"SELECT FROM {table}")


async def every_indicator_moves(stack: Stack) -> None:
    now = datetime.now(UTC)
    # event time passes with the latest event of each partition: what happened ten minutes ago is judged at once
    # and what happened last month is judged by its levels of a period
    last_month = now.replace(day=1) - timedelta(days=15)
    times = {"last-month": last_month.isoformat(), "before": (now - timedelta(minutes=10)).isoformat(), "latest": now.isoformat()}
    sink = KafkaSink(KafkaSettings(bootstrap=stack.bootstrap), "test")
    await sink.publish(list(past_messages(now)))
    for name, at in times.items():
        await sink.publish(list(messages(at, name)))
    await sink.stop()
    today = now.astimezone(OperatorSettings().zone).date()
    for indicator_id, row in reports(today):
        path = f"/v1/indicators/{indicator_id}/measurements"
        status, _, answer = call(stack, "kpi", "POST", path, stack.token("manager"), [row])
        assert status == 201, answer
    late = {"indicator_id": "order_failure_rate", "text": "a second switch", "owner": "network", "due": "2020-01-01"}
    status, _, answer = call(stack, "kpi", "POST", "/v1/improvements", stack.token("manager"), late)
    assert status == 201, answer


async def happens(stack: Stack, number: int) -> None:
    """A bit of everything, with ids of its own for each `number`."""
    admin = stack.token("admin")
    now = datetime.now(UTC)
    # event time passes with the latest event of each partition: what happened ten minutes ago is judged at once
    before, latest = (now - timedelta(minutes=10)).isoformat(), now.isoformat()
    rating = {"region": "NJ", "product": "broadband", "channel": "hotline", "kind": "sms_rating", "customer_class": "gold"}
    ratings = [
        rating | {"customer_id": "C0", "score": 1, "contact_id": f"old-{number}-{i}", "occurred_at": before} for i in range(40)
    ]
    ratings += [
        rating
        | {"customer_id": f"C{number}-{kind}", "kind": kind, "score": 1, "contact_id": f"{kind}-{number}", "occurred_at": latest}
        for kind in ("survey", "complaint_followup")
    ]
    ratings.append(rating | {"customer_id": "C0", "score": 9, "contact_id": f"new-{number}", "occurred_at": latest})
    sent(stack, "evaluations", ratings)
    sent(stack, "evaluations", [ratings[0] | {"score": 2}])
    sent(stack, "evaluations", [ratings[1] | {"contact_id": f"bad-{number}", "score": 11}], 422)
    complaint = {"customer_id": f"C{number}", "region": "NJ", "topic_path": "top_up/unionpay_not_credited"}
    complaint |= {"complaint_id": f"K{number}", "occurred_at": latest}
    sent(stack, "complaints", [complaint | {"type": "complaint.registered.v1"}])
    sent(stack, "complaints", [complaint | {"type": "complaint.escalated.v1", "level": 2, "complaint_id": f"K{number}"}])
    order = {"customer_id": f"C{number}", "region": "NJ", "order_id": f"O{number}", "order_type": "new_install"}
    sent(stack, "orders", [order | {"status": "completed", "occurred_at": latest}])
    reservation = {"customer_id": f"C{number}-survey", "region": "NJ", "purpose": "survey"}
    answers = [call(stack, "recovery", "POST", "/v1/contacts/reservations", admin, reservation)[0] for _ in range(4)]
    assert answers == [201, 201, 201, 409], "the fourth contact in a day is one too many"
    sink = KafkaSink(KafkaSettings(bootstrap=stack.bootstrap), "test")
    await sink.publish([Message("evaluations", b"C0", b"no JSON", [])])
    await sink.stop()
    for service, path in (("kpi", "/v1/indicators"), ("ticketing", "/v1/tickets"), ("recovery", "/v1/recoveries")):
        assert call(stack, service, "GET", path, admin)[0] == 200
    agent = stack.token("agent", f"agent-{number}")
    status, _, claimed = call(stack, "recovery", "POST", "/v1/claims", agent)
    if status == 200:
        path = f"/v1/recoveries/{claimed['recovery_id']}"
        assert call(stack, "recovery", "POST", f"{path}/reveal-phone", agent, {"why": "call"})[0] in (200, 404)
        body = {"reached": True, "result": "resolved", "reason": "other", "note": "n", "claim_number": claimed["claim_number"]}
        status, _, recorded = call(stack, "recovery", "POST", f"{path}/contacts", agent, body)
        assert status == 201, recorded


def sent(stack: Stack, what: str, events: list[dict[str, Any]], expected: int = 202) -> None:
    status, _, answer = call(stack, "ingest", "POST", f"/v1/{what}", stack.token("producer"), events)
    assert status == expected, answer


def test_the_runbooks_commands_run(stack: Stack) -> None:
    blocks = re.findall(r"```(sh|sql)\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    commands, statements = ([text for kind, text in blocks if kind == wanted] for wanted in ("sh", "sql"))
    assert len(commands) > 6
    assert len(statements) > 3
    environment = stack.environment() | {"TOKEN": stack.token("admin"), "DATABASE_URL": stack.admin_url}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    lines = dict.fromkeys(line for command in commands for line in command.splitlines())
    addresses = "\n".join(line for line in lines if "=http" in line)
    for line in lines:
        script = f"set -eu\n{addresses}\n{line}"
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (line, done.stdout, done.stderr)

    async def ask() -> None:
        connection = await asyncpg.connect(stack.admin_url)
        for statement in statements:
            await connection.fetch(statement)
        await connection.close()

    asyncio.run(ask())


def test_the_log_lines_that_the_runbook_names_are_written_by_the_code() -> None:
    lines = re.findall(r'log\s"([^"]+)"', RUNBOOK.read_text())
    code = "\n".join(file.read_text() for part in ("libs", "services") for file in (ROOT / part).rglob("src/**/*.py"))
    assert len(lines) > 10
    assert [line for line in lines if f'"{line}"' not in code] == []


def test_what_breaks_is_seen(stack: Stack, prometheus: int) -> None:
    def broken(expr: str) -> bool:
        with contextlib.suppress(ConnectionRefusedError, TimeoutError):
            call(stack, "ingest", "POST", "/v1/orders", stack.token("producer"), [])
        return bool(asked(prometheus, "query", query=expr)["result"])

    def pending(alert: str, **labels: str) -> str:
        chosen = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        return f'ALERTS{{alertname="{alert}", {chosen}}}'

    assert stack.kafka is not None
    stack.kafka.kill()
    seen = [pending("ConsumerWaiting", service=service) for service in ("kpi", "ticketing", "recovery")]
    seen += [pending("NotReady", service="ingest", part="kafka"), pending("ServerUnseen", job="kafka")]
    wait_until(lambda: all(map(broken, seen)), 40, "Kafka is away")
    assert not broken(pending("NotReady", service="recovery")), "agents go on from PostgreSQL"
    stack.service("kpi").kill()
    wait_until(lambda: broken(pending("ServiceDown", service="kpi")), 20, "kpi is away")
    query(stack.admin_url, "ALTER ROLE closedloop_monitor NOLOGIN")
    query(stack.admin_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'closedloop_monitor'")
    wait_until(lambda: broken(pending("ServerUnseen", job="postgres")), 20, "PostgreSQL does not let its exporter in")
