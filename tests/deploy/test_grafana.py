"""Dashboards: what is in git is what the code builds, and every query of theirs is one that can be answered."""

import subprocess
import sys
from pathlib import Path

import yaml

from deploy.promql import GRAFANA, dashboards, known, queries, unknown


def test_the_dashboards_in_git_are_those_that_the_code_builds(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(GRAFANA / "build.py"), str(tmp_path)], check=True, timeout=60)
    built = {file.name: file.read_text() for file in tmp_path.glob("*.json")}
    kept = {file.name: file.read_text() for file in (GRAFANA / "dashboards").glob("*.json")}
    assert built == kept, "run .venv/bin/python deploy/grafana/build.py"


def test_every_query_asks_for_metrics_and_labels_that_the_code_has() -> None:
    metrics = known()
    found = {(name, title): unknown(expr, metrics) for name, board in dashboards().items() for title, expr in queries(board)}
    assert {where: problems for where, problems in found.items() if problems} == {}
    assert len(found) > 80


def test_every_dashboard_and_panel_can_be_told_apart_and_names_the_provisioned_source() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    boards = dashboards()
    assert len({board["uid"] for board in boards.values()}) == len({board["title"] for board in boards.values()}) == len(boards)
    for board in boards.values():
        assert len(board["uid"]) <= 40, "Grafana takes no longer one"
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                assert target["datasource"] == {"type": source["type"], "uid": source["uid"]}


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/closedloop.yaml").read_text())["providers"]
    grafana = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]
