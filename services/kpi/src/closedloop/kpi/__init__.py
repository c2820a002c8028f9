"""Counts events once and answers what an indicator was."""

import os

# Polars reads this once, when it is first imported. It works beside the thread that reads records: one core is taken already.
os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
