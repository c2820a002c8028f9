"""docker-compose.yml without an engine: well formed, and every port, setting, health check and topic in it is the code's.

What can be started of it without an engine is started in test_compose_started.py.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from closedloop.common.auth.roles import SCOPES_BY_ROLE
from closedloop.common.events.topics import TOPICS, dead_letter_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AuthSettings, OperatorSettings
from closedloop.common.telemetry.tracing import ENDPOINTS
from closedloop.ingest.main import build
from closedloop.ingest.settings import IngestSettings
from closedloop.kpi.settings import KpiSettings
from closedloop.local import issuer, jars, postgres, prepare, testing_containers
from closedloop.local.addresses import Ports
from closedloop.recovery.settings import RecoverySettings
from closedloop.ticketing.settings import TicketingSettings
from deploy.compose_file import COMPOSE, ENV, ROOT, SERVICES, STACK, TEXT, VARIABLE, asked_for

SETTINGS: dict[str, type[BaseSettings]] = {
    "ingest": IngestSettings,
    "kpi": KpiSettings,
    "ticketing": TicketingSettings,
    "recovery": RecoverySettings,
}
WITH_DATABASE = ("kpi", "ticketing", "recovery")
ONCE = ("issuer", "token", "topics", "migrate-kpi", "migrate-ticketing", "migrate-recovery", "postgres-monitor")
WRITES_IN_ITS_ROOT = {"kafka"}


# --- the file ---


def test_it_follows_the_compose_specification() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_settings_are_those_that_it_uses_with_the_same_defaults() -> None:
    used = {name: (kind, rest) for name, kind, rest in VARIABLE.findall(TEXT)}
    asked = asked_for()
    assert asked.keys() == used.keys()
    for name, (kind, rest) in used.items():
        assert asked[name] == ("" if kind == "?" else rest), name
    assert {name for name, (kind, _) in used.items() if kind == "?"} == {name for name in used if name.endswith("_PASSWORD")}


def test_what_is_waited_for_is_there_and_can_come_about() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_completed_successfully":
                assert other in ONCE, f"{name} waits for the end of {other}, which goes on for ever"
            else:
                assert wait["condition"] == "service_healthy" and "test" in SERVICES[other]["healthcheck"]
    assert _order("kpi") >= {"postgres", "migrate-kpi", "kafka", "topics", "issuer"}


def _order(name: str) -> set[str]:
    before = set(SERVICES[name].get("depends_on", {}))
    return before.union(*map(_order, before))


def test_volumes_and_mounted_folders_are_there() -> None:
    used = {}
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            used[source] = target
    named = {source for source in used if not source.startswith("./")}
    assert named == set(STACK["volumes"])
    for source in used.keys() - named:
        assert any(path.is_file() for path in (ROOT / source).rglob("*")), f"{source} is mounted and empty"


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_has_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name not in WRITES_IN_ITS_ROOT)
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert ("test" in service["healthcheck"]) is (name not in ONCE)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), "it would be open to the network"
    if "image" in service:
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", service["image"]), "not an exact version"


# --- what the code says ---


def test_every_service_of_the_local_stack_is_there_on_its_port() -> None:
    for name, port in vars(Ports()).items():
        assert f"127.0.0.1:{port}:{port}" in SERVICES[name]["ports"]
    for name, settings in SETTINGS.items():
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{settings.model_fields['port'].default}:{Ports().of(name)}"]
        assert SERVICES[name]["build"] == {"context": ".", "args": {"SERVICE": name}}


@pytest.mark.parametrize("name", SETTINGS)
def test_its_settings_are_settings_of_the_code_and_none_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = SERVICES[name]["environment"]
    own = SETTINGS[name]
    known = {_variable(cls, field) for cls in (own, KafkaSettings, AuthSettings, OperatorSettings) for field in cls.model_fields}
    assert given.keys() <= known | {"LOG_LEVEL", "POLARS_MAX_THREADS", *ENDPOINTS}
    needed = {"KAFKA_BOOTSTRAP"} | {_variable(AuthSettings, field) for field in AuthSettings.model_fields}
    if name in WITH_DATABASE:
        needed |= {_variable(own, "database_url"), _variable(own, "group_member")}
    assert given.keys() >= needed
    _only(monkeypatch, given)
    for cls in (own, KafkaSettings, AuthSettings, OperatorSettings):
        cls()  # each value is one that the service takes


def test_services_reach_kafka_by_an_address_that_it_advertises(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SERVICES["kafka"]["environment"]
    advertised = dict(part.split("://") for part in broker["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(part.split("://") for part in broker["KAFKA_LISTENERS"].split(","))
    assert {advertised["INSIDE"]} == {s["environment"]["KAFKA_BOOTSTRAP"] for s in map(SERVICES.get, (*SETTINGS, "topics")) if s}
    assert advertised["INSIDE"].endswith(listening["INSIDE"]) and advertised["OUTSIDE"] == KafkaSettings().bootstrap
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{Ports().kafka}{listening['OUTSIDE']}"]
    assert broker["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{broker['KAFKA_NODE_ID']}@kafka{listening['CONTROLLER']}"


def test_topics_are_made_from_the_code_and_by_nobody_else() -> None:
    broker = SERVICES["kafka"]["environment"]
    assert SERVICES["topics"]["command"] == ["topics", "--create"]
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert broker["KAFKA_MESSAGE_MAX_BYTES"] >= max(t.max_message_bytes for t in TOPICS)
    assert {t.partitions for t in (*TOPICS, *dead_letter_topics())} == {broker["KAFKA_NUM_PARTITIONS"]}


def test_kafka_and_postgresql_are_those_of_the_local_stack() -> None:
    assert SERVICES["kafka"]["image"] == testing_containers.KAFKA_IMAGE == f"apache/kafka:{jars.KAFKA_VERSION}"
    assert SERVICES["postgres"]["image"] == testing_containers.POSTGRES_IMAGE
    assert SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"] == testing_containers.POSTGRES_INITDB_ARGS
    assert SERVICES["postgres"]["image"].startswith(f"postgres:{postgres.VERSION}.")
    assert SERVICES["postgres"]["environment"]["POSTGRES_DB"] == prepare.DATABASE


@pytest.mark.parametrize("name", WITH_DATABASE)
def test_a_migration_runs_as_the_administrator_and_the_service_as_its_own_role(name: str) -> None:
    migration, service = SERVICES[f"migrate-{name}"], SERVICES[name]
    own = f"{name.upper()}_DATABASE_URL"
    password = ENV["POSTGRES_PASSWORD"]
    assert migration["command"] == ["migrate"] and migration["build"] == service["build"]
    assert migration["environment"] == {
        "DATABASE_URL": f"postgresql://postgres:{password}@postgres:5432/{prepare.DATABASE}",
        own: service["environment"][own],
    }
    assert service["environment"][own].startswith(f"postgresql://closedloop_{name}:{ENV[f'{name.upper()}_DATABASE_PASSWORD']}@")
    assert password not in json.dumps(service)


def test_postgres_exporter_has_a_role_of_its_own_and_no_other_password() -> None:
    role, exporter = (SERVICES[name]["environment"] for name in ("postgres-monitor", "postgres-exporter"))
    assert exporter["DATA_SOURCE_PASS"] == role["MONITOR_DATABASE_PASSWORD"] == ENV["MONITOR_DATABASE_PASSWORD"]
    assert exporter["DATA_SOURCE_URI"].startswith(f"{role['PGHOST']}:5432/{role['PGDATABASE']}?")
    assert (role["PGDATABASE"], role["PGPASSWORD"]) == (prepare.DATABASE, ENV["POSTGRES_PASSWORD"])
    given = json.dumps(SERVICES["postgres-exporter"])
    assert [name for name, value in ENV.items() if name.endswith("_PASSWORD") and value in given] == ["MONITOR_DATABASE_PASSWORD"]
    assert SERVICES["postgres-monitor"]["image"] == SERVICES["postgres"]["image"]


def test_the_local_issuers_keys_are_where_the_services_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = SERVICES["issuer"]["environment"]["CLOSEDLOOP_VAR"]
    (volume,) = SERVICES["issuer"]["volumes"]
    assert volume == f"issuer:{state}"
    made = issuer.Issuer(tmp_path / "issuer").environment()
    for name in SETTINGS:
        given = SERVICES[name]["environment"]
        assert given["AUTH_JWKS_URL"] == made["AUTH_JWKS_URL"].replace(str(tmp_path), state)
        assert {key: given[key] for key in made if key != "AUTH_JWKS_URL"} == {
            k: v for k, v in made.items() if k != "AUTH_JWKS_URL"
        }
        assert SERVICES[name]["volumes"] == [f"{volume}:ro"]
        assert "user" not in SERVICES[name], "it would be able to read the private key"
    # the issuer's user owns the folder in the image, so that it owns the new volume
    uid = SERVICES["issuer"]["user"].partition(":")[0]
    assert f"install -d -o {uid} -g {uid} {state}" in (ROOT / "Dockerfile").read_text()
    assert (tmp_path / "issuer/key.pem").stat().st_mode & 0o077 == 0
    command = SERVICES["token"]["entrypoint"] + SERVICES["token"]["command"]
    monkeypatch.setenv("CLOSEDLOOP_VAR", str(tmp_path))
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.count(".") == 2 and command[-1] in SCOPES_BY_ROLE


def test_a_service_is_healthy_when_it_is_ready() -> None:
    routes = build(IngestSettings(), KafkaSettings(), AuthSettings()).openapi()["paths"]
    for name in SETTINGS:
        _, command, path = SERVICES[name]["healthcheck"]["test"]
        assert command == "healthy" and path in routes
    assert "/livez" in routes  # the image's own check


def test_prometheus_scrapes_every_service_on_its_port() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    found = {
        name: target["port"]
        for scrape in config["scrape_configs"]
        for target in scrape.get("dns_sd_configs", ())
        for name in target["names"]
    }
    assert found.items() >= {name: cls.model_fields["port"].default for name, cls in SETTINGS.items()}.items()


def test_prometheus_serves_the_runbook_to_which_its_alerts_lead() -> None:
    prometheus = SERVICES["prometheus"]
    (folder,) = [part.partition("=")[2] for part in prometheus["command"] if part.startswith("--web.user-assets=")]
    assert f"./docs:{folder}:ro" in prometheus["volumes"]
    (address,) = [part.partition("=")[2] for part in prometheus["command"] if part.startswith("--web.external-url=")]
    assert address.rpartition(":")[2] == prometheus["ports"][0].split(":")[-2]


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = [s for path in provisioning.glob("datasources/*") for s in yaml.safe_load(path.read_text())["datasources"]]
    (port,) = SERVICES["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port.rpartition(':')[2]}"
    (provider,) = [p for path in provisioning.glob("dashboards/*") for p in yaml.safe_load(path.read_text())["providers"]]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def _variable(cls: type[BaseSettings], field: str) -> str:
    return (cls.model_config["env_prefix"] + field).upper()


def _only(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(("KAFKA_", "AUTH_", "OPERATOR_", *(f"{service.upper()}_" for service in SETTINGS))):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
