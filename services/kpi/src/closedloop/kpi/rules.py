"""`python -m closedloop.kpi rules`: Prometheus rules for the catalogue of the files."""

import sys

from closedloop.kpi.main import read_entries
from closedloop.kpi.prometheus_rules import rules_of


def rules() -> None:
    """Print them."""
    sys.stdout.write(rules_of(read_entries()[1]))
