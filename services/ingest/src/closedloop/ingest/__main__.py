"""`python -m closedloop.ingest serve`."""

from closedloop.common.command_line import command_line

command_line("ingest")
