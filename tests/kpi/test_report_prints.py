"""The report's page on paper, by a real browser: every indicator of the catalogue, with breaches, comments and measures."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from closedloop.kpi.domain import report as rules
from closedloop.kpi.domain.catalogue import Indicator
from closedloop.kpi.domain.months import earlier
from closedloop.kpi.domain.report import Amount, Breach, Comment, Figure, Measure, MonthAmount, Progress, Report, UnitAmount
from closedloop.kpi.reports.forms import as_html
from kpi.shipped import SHIPPED

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed, which prints the page")
MONTH = "2026-10"
NOON = datetime(2026, 10, 5, 4, tzinfo=UTC)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--no-pdf-header-footer",
)


def figure(indicator: Indicator, is_short: bool) -> Figure:
    """A year of figures; one that is short has all that may stand beside it."""
    trend = [MonthAmount(earlier(MONTH, back), Amount(90.0 + back % 5, 90_000.0, 100_000.0, 100_000)) for back in range(12, -1, -1)]
    said = Progress("mei", NOON, 40, "staff found")
    return Figure(
        indicator_id=indicator.id,
        name_en=indicator.name_en,
        name_zh=indicator.name_zh,
        factor=indicator.factor,
        phase=indicator.phase,
        indicator_class=indicator.indicator_class,
        collection=indicator.collection,
        unit=indicator.unit,
        better=indicator.better,
        owner=indicator.owner,
        formula=indicator.formula,
        target=indicator.target,
        warning=indicator.warning,
        critical=indicator.critical,
        judgement="warning" if is_short else "ok",
        amount=trend[-1].amount,
        month_on_month=1.0,
        year_on_year=-2.0,
        trend=trend,
        worst_units=[UnitAmount("NJ", trend[0].amount)] if is_short else [],
        breaches=[Breach(f"{indicator.id}?region=NJ", NOON, None, 80.0, 85.0, "critical")] if is_short else [],
        short_since=MONTH if is_short else None,
        comments=[Comment("mei", NOON, "Two people fell ill; the second line works until 22:00 from now on. " * 3)]
        if is_short
        else [],
        measures=[Measure("1", "second line until 22:00", "hotline", "2026-12-01", "open", [said])] if is_short else [],
        drill="/v1",
    )


def test_every_indicator_fits_on_sheets_of_a4_and_a_third_that_fall_short_are_forty_sheets(tmp_path: Path) -> None:
    figures = [(indicator, figure(indicator, number % 3 == 0)) for number, indicator in enumerate(SHIPPED.indicators)]
    report = Report(MONTH, "Asia/Shanghai", NOON, NOON, NOON, rules.in_sections(figures), ())
    page, printed = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_bytes(as_html(report, published=True))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(BROWSER), *QUIET, profile, f"--print-to-pdf={printed}", page.as_uri()]
    done = subprocess.run(
        command, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=120, check=False
    )
    assert printed.exists(), done.stderr[-500:]
    sheets = re.findall(rb"/Type /Page\b.*?/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed.read_bytes(), re.DOTALL)
    assert {(round(float(width)), round(float(height))) for width, height in sheets} == {(842, 595)}, "A4, landscape"
    # as many as it takes: a row that is torn from its details, or columns that wrap each word, would need more
    assert len(SHIPPED.indicators) / 12 < len(sheets) <= 40
