"""What an import says at its end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich import box
from rich.markup import escape
from rich.table import Table

from closedloop.cli.imports.importing import Importing
from closedloop.cli.screen import out

REASONS_SHOWN: Final = 15
KPI_KEEPS: Final = timedelta(days=400)
"""kpi's default; what an installation has set is not known here."""


def report(run: Importing, rejects: Path | None, taken: str) -> None:
    """A table of what became of the rows, and of the reasons of those that were rejected."""
    state = run.state
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows", f"{state.accepted + state.rejected:,}")
    table.add_row(taken, f"{state.accepted:,}")
    table.add_row("rejected", f"{state.rejected:,}")
    if run.oldest and run.newest:
        table.add_row("event times from", f"{run.oldest:%Y-%m-%d %H:%M%z}")
        table.add_row("to", f"{run.newest:%Y-%m-%d %H:%M%z}")
    out.print(table)
    if run.oldest and datetime.now(UTC) - run.oldest > KPI_KEEPS:
        out.print(
            f"Some are older than {KPI_KEEPS.days} days, which is what kpi keeps unless KPI_RETENTION_DAYS says more: it refuses "
            "older ones, and pauses where that are a hundred in a row."
        )
    if run.repeated.count and run.repeated.first:
        row, id_ = run.repeated.first
        out.print(
            f"{run.repeated.count:,} rows have the event id of an earlier row (the first is row {row}: {id_}) and count once. "
            "If they say different things, name further columns under `id` in the mapping.",
            markup=False,
        )
    if state.rejected:
        _reasons(run)
        if rejects:
            out.print(f"The rejected rows, each with its number and reason: {escape(str(rejects))}")


def _reasons(run: Importing) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("rejected", justify="right")
    table.add_column("because", overflow="fold")
    for reason, count in sorted(run.state.reasons.items(), key=lambda item: -item[1])[:REASONS_SHOWN]:
        table.add_row(f"{count:,}", escape(reason))
    out.print(table)
    for row, reason in run.examples[:REASONS_SHOWN]:
        out.print(f"  row {row}: {reason}", markup=False)
