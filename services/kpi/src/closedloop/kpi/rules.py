"""`python -m closedloop.kpi rules`: Prometheus rules for what of the catalogue's files is in force today."""

import sys

from closedloop.kpi.main import catalogue_of_files
from closedloop.kpi.prometheus_rules import rules_of


def rules() -> None:
    """Print them."""
    sys.stdout.write(rules_of(catalogue_of_files()))
