"""`python -m closedloop.ingest serve`."""

from closedloop.common.service import command_line
from closedloop.ingest.main import main

command_line("ingest", serve=main)
