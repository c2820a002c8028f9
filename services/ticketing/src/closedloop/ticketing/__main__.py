"""`python -m closedloop.ticketing serve|migrate`."""

from closedloop.common.command_line import MIGRATES, command_line

command_line("ticketing", migrate=MIGRATES)
