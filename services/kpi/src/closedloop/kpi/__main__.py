"""`python -m closedloop.kpi serve|migrate|rules`."""

from closedloop.common.service import command_line
from closedloop.kpi.main import migrate, print_rules, serve

command_line("kpi", serve, migrate, rules=(print_rules, "print Prometheus rules for the indicator catalogue"))
