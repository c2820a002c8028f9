"""`python -m closedloop.recovery serve|migrate`."""

from closedloop.common.service import command_line
from closedloop.recovery.main import migrate, serve

command_line("recovery", serve, migrate)
