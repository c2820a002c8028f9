"""Rules and alerts: each has its metrics in the code, its section in the runbook, a case in which it fires and one in which not.

promtool and prometheus are Debian's, 2.42 where this was written. The 3.14 that docker-compose.yml names was not run.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from closedloop.local.addresses import SERVICES, Ports
from deploy.compose_file import SERVICES as COMPOSE
from deploy.indicator_cases import cases
from deploy.manifests import of_kind, pods, resources
from deploy.promql import PROMETHEUS, ROOT, alerts, dashboards, known, rules, tool, unknown
from kpi.shipped import SHIPPED

RUNBOOK = ROOT / "docs/runbook.md"
OF_THE_SHIPPED = cases(SHIPPED)
CASES = [case for file in sorted((PROMETHEUS / "tests").glob("*.yml")) for case in yaml.safe_load(file.read_text())["tests"]]
CASES += OF_THE_SHIPPED
OWNERS = {"operations", "integration", "service-desk"}


def _id(rule: dict[str, Any]) -> str:
    return "-".join([rule["alert"], *(rule["labels"][name] for name in ("severity", "indicator") if name in rule["labels"])])


def test_every_rule_asks_for_metrics_and_labels_that_the_code_has() -> None:
    metrics = known()
    found = {rule.get("alert") or rule["record"]: unknown(rule["expr"], metrics) for rule in rules()}
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert unknown("sum by (topic) (rate(no_such_total[5m]))", metrics) == [
        "no metric no_such_total",
        "nothing in it has the label topic",
    ]
    assert unknown('consumer_braked{topic="x"}', metrics) == ["consumer_braked has no label topic"]


@pytest.mark.parametrize("rule", alerts(), ids=_id)
def test_an_alert_says_who_acts_and_where_to_look(rule: dict[str, Any]) -> None:
    indicator = SHIPPED.get(rule["labels"].get("indicator", ""))
    assert set(rule["labels"]) == {"severity", "owner", *(("indicator",) if indicator else ())}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["owner"] in ({indicator.owner} if indicator else OWNERS)
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert said["runbook_url"] == f"{{{{ externalURL }}}}/user/{RUNBOOK.name}#{rule['alert'].lower()}"
    assert said["dashboard_url"].removeprefix("/d/").partition("?")[0] in {dashboard["uid"] for dashboard in dashboards().values()}


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted({rule["alert"] for rule in alerts()})


@pytest.mark.parametrize("rule", alerts(), ids=_id)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(rule: dict[str, Any]) -> None:
    name, severity = rule["alert"], rule["labels"]["severity"]
    asked = [t for case in CASES for t in case["promql_expr_test"] if f'alertname="{name}", alertstate="firing"' in t["expr"]]
    assert any(f'severity="{severity}"' in sample["labels"] for test in asked for sample in test["exp_samples"])
    assert any(not t["exp_samples"] and t["expr"].endswith(('firing"}', f'severity="{severity}"}}')) for t in asked)


def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    promtool = tool("promtool")
    of_the_catalogue = tmp_path / "indicators.yml"
    rule_files = [str(PROMETHEUS / "rules/indicators.yml")]
    document = {"rule_files": rule_files, "evaluation_interval": "1m", "tests": OF_THE_SHIPPED}
    of_the_catalogue.write_text(yaml.safe_dump(document))
    checks = [["check", "config", name] for name in ("prometheus.yml", "local.yml")]  # Debian's knows no Kubernetes
    checks += [["check", "rules", *_names("rules")], ["test", "rules", *_names("tests"), str(of_the_catalogue)]]
    for check in checks:
        done = subprocess.run([promtool, *check], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_scraped_are_the_services_at_their_ports() -> None:
    ports = Ports()
    expected = {service: ports.of(service) for service in SERVICES}
    compose = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"][0]
    assert {found["names"][0]: found["port"] for found in compose["dns_sd_configs"]} == expected
    local = yaml.safe_load((PROMETHEUS / "local.yml").read_text())["scrape_configs"][0]
    assert {c["labels"]["service"]: c["targets"] for c in local["static_configs"]} == {
        service: [f"127.0.0.1:{port}"] for service, port in expected.items()
    }


def test_what_is_scraped_of_the_servers_are_their_exporters() -> None:
    [listening] = [arg.rpartition(":")[2] for arg in COMPOSE["postgres-exporter"]["command"] if "listen-address" in arg]
    for name, host in (("prometheus.yml", "postgres-exporter"), ("local.yml", "127.0.0.1")):
        found = {job["job_name"]: job for job in yaml.safe_load((PROMETHEUS / name).read_text())["scrape_configs"]}
        assert found["postgres"]["static_configs"] == [{"targets": [f"{host}:{listening}"]}]
    [(_, pod)] = pods([of_kind(resources("components/postgres-exporter"), "Deployment")["postgres-exporter"]])
    assert _kept("postgres") == {
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": pod["metadata"]["labels"]["app.kubernetes.io/name"],
        "__meta_kubernetes_pod_container_port_name": pod["spec"]["containers"][0]["ports"][0]["name"],
    }
    assert "annotations" not in pod["metadata"], "the services' job would take it for one of them"
    # what Strimzi names so, as its policies in deploy/k8s and its documentation have it: not seen on a cluster
    assert _kept("kafka") == {
        "__meta_kubernetes_pod_label_strimzi_io_name": "closedloop-kafka",
        "__meta_kubernetes_pod_container_port_name": "tcp-prometheus",
    }


def test_in_kubernetes_pods_are_found_by_what_the_manifests_give_them() -> None:
    text = (PROMETHEUS / "kubernetes.yml").read_text()
    manifests = "\n".join(file.read_text() for file in (ROOT / "deploy/k8s/base").glob("*.yaml"))
    for given in (
        "app.kubernetes.io/part-of: closedloop",
        'prometheus.io/scrape: "true"',
        "prometheus.io/port:",
        "app.kubernetes.io/name:",
    ):
        assert given in manifests
        assert re.sub(r"[./-]", "_", given.split(":")[0]) in text


def _kept(name: str) -> dict[str, str]:
    """By what a job of kubernetes.yml knows its pods."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())["scrape_configs"]}
    return {rule["source_labels"][0]: rule["regex"] for rule in jobs[name]["relabel_configs"] if rule.get("action") == "keep"}


def _names(folder: str) -> list[str]:
    return [str(Path(folder) / file.name) for file in sorted((PROMETHEUS / folder).glob("*.yml"))]
