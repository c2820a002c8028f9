"""`closedloop import`: an export of an existing system, row by row, through ingest."""
