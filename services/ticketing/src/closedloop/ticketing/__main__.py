"""`python -m closedloop.ticketing serve|migrate`."""

from closedloop.common.service import command_line
from closedloop.ticketing.main import migrate, serve

command_line("ticketing", serve, migrate)
