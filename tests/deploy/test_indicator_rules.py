"""Rules made from a catalogue: what is in git is what the shipped one gives, and an operator's own words reach whoever is woken."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.prometheus_rules import rules_of
from deploy.promql import PROMETHEUS, tool

OWN = """\
indicators:
  - id: hall_wait
    name_en: Wait in the hall {{ evil }}
    name_zh: 排队时长
    process: business_hall
    phase: in_process
    class: operating
    unit: min
    better: lower
    target: 10
    owner: business_hall
    topic: orders
    filter: channel = 'business_hall'
    numerator: duration_s / 60
    denominator: 1
    dimensions: [region, product]
    export: [region]
    threshold: {window: 1h, warning: 15, critical: 30, minimum_sample: 20, by: [region]}
  - id: hall_equipment
    name_en: Equipment faults
    name_zh: 设备故障
    process: business_hall
    phase: in_process
    class: operating
    unit: faults
    better: lower
    target: 3
    warning: 5
    critical: 8
    owner: business_hall
    collection: system_extract
    granularity: month
    reported: {by: BOSS, numerator: faults}
    dimensions: [region]
  - id: hall_orders
    name_en: Orders in halls
    name_zh: 营业厅业务量
    process: business_hall
    phase: in_process
    class: operating
    unit: orders
    better: higher
    owner: business_hall
    topic: orders
    filter: channel = 'business_hall'
    numerator: 1
    dimensions: [region]
"""


def printed(**environment: str) -> str:
    command = [sys.executable, "-m", "closedloop.kpi", "rules"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_rules_in_git_are_those_of_the_shipped_catalogue() -> None:
    assert (PROMETHEUS / "rules/indicators.yml").read_text() == printed(), "run make rules"


def test_an_operators_own_indicators_are_watched_and_told_with_name_value_owner_and_links(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "own.yaml").write_text(OWN)
    # promtool has no address of a Prometheus
    (tmp_path / "rules.yml").write_text(printed(KPI_CATALOGUE_DIR=str(own)).replace("{{ externalURL }}", ""))
    of_halls = '{indicator="hall_wait", split_by="region", region="%s", instance="%s"}'
    whole = '{indicator="%s", instance="%s"}'
    alert = {
        "exp_labels": {"severity": "page", "owner": "business_hall", "indicator": "hall_wait", "region": "NJ"},
        "exp_annotations": {
            "summary": "Wait in the hall { evil } (排队时长), region NJ is critical: 42.5 min, owner business_hall",
            "description": "It is above 30 min over 1h. The value is over KPI_GAUGE_WINDOW."
            " Series: GET /v1/indicators/hall_wait/series?window=1h&region=NJ",
            "runbook_url": "/user/runbook.md#indicatorbreached",
            "dashboard_url": "/d/closedloop-indicator?var-indicator=hall_wait&var-region=NJ",
        },
    }
    warned = {
        "exp_labels": alert["exp_labels"] | {"severity": "ticket", "region": "SZ"},
        "exp_annotations": alert["exp_annotations"]
        | {
            "summary": "Wait in the hall { evil } (排队时长), region SZ is warning: unknown min, owner business_hall",
            "description": "It is above 15 min over 1h. The value is over KPI_GAUGE_WINDOW."
            " Series: GET /v1/indicators/hall_wait/series?window=1h&region=SZ",
            "dashboard_url": "/d/closedloop-indicator?var-indicator=hall_wait&var-region=SZ",
        },
    }
    reported = {
        "exp_labels": {"severity": "ticket", "owner": "business_hall", "indicator": "hall_equipment"},
        "exp_annotations": {
            "summary": "Equipment faults (设备故障) is critical over its last month, owner business_hall",
            "description": "Worse than warning 5 or critical 8 faults."
            " Series: GET /v1/indicators/hall_equipment/series?window=month",
            "runbook_url": "/user/runbook.md#indicatorbreached",
            "dashboard_url": "/d/closedloop-indicator?var-indicator=hall_equipment",
        },
    }
    of_nanjing = {
        "exp_labels": reported["exp_labels"] | {"region": "NJ"},
        "exp_annotations": reported["exp_annotations"]
        | {
            "summary": "Equipment faults (设备故障), region NJ is warning over its last month, owner business_hall",
            "description": reported["exp_annotations"]["description"] + "&region=NJ",
        },
    }
    unanswered = {
        "exp_labels": {"severity": "ticket", "owner": "service-desk", "indicator": "hall_wait", "region": "NJ"},
        "exp_annotations": {
            "summary": "hall_wait, region NJ was said 3 times again, and nobody answers; owner hall",
            "description": "GET /v1/states?indicator=hall_wait&region=NJ names it; POST /v1/states/{id}/acknowledge is the answer.",
            "runbook_url": "/user/runbook.md#indicatorunanswered",
            "dashboard_url": "/d/closedloop-indicator?var-indicator=hall_wait",
        },
    }
    case = {
        "interval": "1m",
        "input_series": [
            *(
                {"series": f"kpi_indicator_{figure}{of_halls % (region, instance)}", "values": values}
                for instance in ("a", "b")
                for figure, region, values in (
                    ("state", "NJ", "0x9 3x20"),
                    ("value", "NJ", "42.5x30"),
                    ("state", "SZ", "1x9 2x20"),
                    ("state", "HZ", "1x30"),
                    ("state", "WX", "3x30"),
                    ("quiet", "WX", "1x30"),
                    ("escalations", "NJ", "_x11 1 2 3x20"),
                    ("escalations", "SZ", "2x30"),
                )
            ),
            {"series": f"kpi_indicator_numerator{whole % ('hall_wait', 'a')}", "values": "0x9 100x9"},
            {"series": f"kpi_indicator_denominator{whole % ('hall_wait', 'a')}", "values": "0x9 10x9"},
            {"series": f"kpi_indicator_numerator{whole % ('order_failure_rate', 'a')}", "values": "1x9 3x9"},
            {"series": f"kpi_indicator_denominator{whole % ('order_failure_rate', 'a')}", "values": "10x9 10x9"},
            {"series": f"kpi_indicator_numerator{whole % ('hall_orders', 'a')}", "values": "7x30"},
            *(
                {
                    "series": f'kpi_indicator_info{{indicator="{indicator}", owner="hall", collection="events", instance="a"}}',
                    "values": "1x30",
                }
                for indicator in ("hall_wait", "order_failure_rate", "hall_orders")
            ),
            # what was reported of a month is no average of a day
            {"series": f"kpi_indicator_numerator{whole % ('hall_equipment', 'a')}", "values": "9x30"},
            {
                "series": 'kpi_indicator_info{indicator="hall_equipment", collection="system_extract", instance="a"}',
                "values": "1x30",
            },
            {"series": 'kpi_indicator_state{indicator="hall_equipment", instance="a"}', "values": "0x9 3x20"},
            {"series": 'kpi_indicator_state{indicator="hall_equipment", region="NJ", instance="a"}', "values": "0x9 2x20"},
        ],
        "alert_rule_test": [
            {"eval_time": "5m", "alertname": "IndicatorBreached", "exp_alerts": []},
            {"eval_time": "15m", "alertname": "IndicatorBreached", "exp_alerts": [alert, warned, reported, of_nanjing]},
            {"eval_time": "12m", "alertname": "IndicatorUnanswered", "exp_alerts": []},
            {"eval_time": "15m", "alertname": "IndicatorUnanswered", "exp_alerts": [unanswered]},
        ],
        "promql_expr_test": [
            {
                # a day's value is over all its events: an hour in which nothing happened does not count as a mean of 0
                "expr": "round(indicator:kpi_indicator_value:avg1d, 0.01)",
                "eval_time": "19m",
                "exp_samples": [
                    {"labels": f'{{indicator="{indicator}"}}', "value": value}
                    for indicator, value in (("hall_wait", 10), ("order_failure_rate", 20), ("hall_orders", 7))
                ],
            }
        ],
    }
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(document, allow_unicode=True))
    for check in (["check", "rules", "rules.yml"], ["test", "rules", "cases.yml"]):
        done = subprocess.run([tool("promtool"), *check], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_catalogue_whose_indicators_are_neither_judged_nor_ratios_has_rules_too(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    shipped.mkdir()
    own.mkdir()
    (own / "own.yaml").write_text("indicators:\n" + OWN[OWN.index("  - id: hall_orders") :])
    [group] = yaml.safe_load(rules_of(load_catalogue(own, shipped)))["groups"]
    assert [rule for rule in group["rules"] if "alert" in rule] == []
    assert len(group["rules"]) == 4


def test_an_alert_is_one_rule_per_indicator_and_level_however_many_regions_there_are() -> None:
    catalogue = load_catalogue()
    [group] = yaml.safe_load(rules_of(catalogue))["groups"]
    judged = sum(1 + (i.threshold.warning is not None) for i in catalogue.from_events if i.threshold is not None)
    charts = sum(i.control is not None for i in catalogue.from_events)
    alerts = len([rule for rule in group["rules"] if rule.get("alert") == "IndicatorBreached"]) - len(catalogue.by_period)
    assert judged <= alerts <= judged + charts
