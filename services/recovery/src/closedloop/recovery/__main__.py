"""`python -m closedloop.recovery serve|migrate`."""

from closedloop.common.command_line import MIGRATES, command_line

command_line("recovery", migrate=MIGRATES)
