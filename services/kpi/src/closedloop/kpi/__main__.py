"""`python -m closedloop.kpi serve|migrate`."""

from closedloop.common.service import command_line
from closedloop.kpi.main import migrate, serve

command_line("kpi", serve, migrate)
