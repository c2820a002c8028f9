"""CATALOGUE.md says what is true: its example loads, and it names the language as it is."""

import re
from collections import Counter
from pathlib import Path

from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.domain.columns import SCHEMA
from closedloop.kpi.domain.expressions import FUNCTIONS
from closedloop.kpi.domain.thresholds import THRESHOLD_WINDOWS

GUIDE = (Path(__file__).parents[2] / "services" / "kpi" / "CATALOGUE.md").read_text("utf-8")


def test_its_example_is_a_catalogue(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "own.yaml").write_text(example, "utf-8")
    indicator = load_catalogue(tmp_path).counted("web_failure_rate")
    assert indicator is not None and indicator.threshold is not None


def test_it_names_topics_windows_and_functions() -> None:
    assert " | ".join(SCHEMA) in GUIDE
    assert " | ".join(THRESHOLD_WINDOWS) in GUIDE
    assert " ".join(sorted(FUNCTIONS)) in GUIDE


def test_it_counts_what_is_shipped() -> None:
    kinds = ("events", "system_extract", "mystery_customer", "third_party", "survey", "derived")
    shipped = load_catalogue().indicators
    counted: Counter[tuple[str, str]] = Counter((indicator.place.partition(":")[0], indicator.collection) for indicator in shipped)
    files = {file for file, _ in counted}
    told = {cells[0]: cells[1:] for line in GUIDE.splitlines() if ".yaml |" in line and (cells := line.strip("| ").split(" | "))}
    assert told.keys() == files
    for file in files:
        numbers = [counted[file, kind] for kind in kinds]
        assert told[file][:7] == [str(number) for number in (sum(numbers), *numbers)], file
    assert f"{len(shipped)} indicators" in GUIDE
