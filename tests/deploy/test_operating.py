"""What docs/operating.md names exists: pages, scripts, metrics, variables."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operating.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("libs", "services") for path in sorted((ROOT / folder).rglob("src/**/*.py"))
)


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", TEXT)
    assert len(links) > 4
    for target, anchor in links:
        path = (PAGE.parent / target).resolve()
        assert path.exists(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M) if anchor else []
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def test_every_script_and_test_that_is_named_exists() -> None:
    named = set(re.findall(r"\b(?:deploy|tests|benchmarks)/[\w/]+(?:\.\w+)?", TEXT))
    assert {"deploy/backup/backup.py", "benchmarks/storage.py", "tests/deploy/test_restore.py"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_metric_and_setting_that_is_named_is_one() -> None:
    metrics = set(re.findall(r"`((?:consumer|event|ingest|outbox)_\w+)`", TEXT))
    assert len(metrics) >= 5
    assert [name for name in metrics if f'"{name.removesuffix("_total")}"' not in CODE] == []
    settings = set(re.findall(r"`(?:KPI|RECOVERY|<SERVICE>)_(\w+)`", TEXT)) - {"DATABASE_URL"}
    assert len(settings) >= 4
    assert [name for name in settings if not re.search(rf"^    {name.lower()}: ", CODE, re.M)] == []
