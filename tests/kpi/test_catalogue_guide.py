"""CATALOGUE.md says what is true: its example loads, and it names the language as it is."""

import re
from pathlib import Path

from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.expressions import FUNCTIONS
from closedloop.kpi.domain.thresholds import THRESHOLD_WINDOWS

GUIDE = (Path(__file__).parents[2] / "services" / "kpi" / "CATALOGUE.md").read_text("utf-8")


def test_its_example_is_a_catalogue(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "own.yaml").write_text(example, "utf-8")
    indicator = load_catalogue(tmp_path).get("web_failure_rate")
    assert indicator is not None and indicator.threshold is not None


def test_it_names_topics_windows_and_functions() -> None:
    assert " | ".join(SCHEMA) in GUIDE
    assert " | ".join(THRESHOLD_WINDOWS) in GUIDE
    assert " ".join(sorted(FUNCTIONS)) in GUIDE
