"""`python -m closedloop.kpi serve|migrate|rules`."""

from closedloop.common.command_line import MIGRATES, command_line

command_line(
    "kpi",
    migrate=MIGRATES,
    rules="print Prometheus rules for the indicator catalogue",
)
