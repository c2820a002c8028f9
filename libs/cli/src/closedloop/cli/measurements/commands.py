"""The `measurements import` command: a sheet as kpi's template has it, CSV or XLSX, to one indicator's measurements."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from closedloop.cli.imports.cells import Cell, text_of
from closedloop.cli.imports.exports import Export, Row
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.imports.opening import open_export
from closedloop.cli.measurements.kpi_client import KpiClient
from closedloop.cli.problems import CommandFailed
from closedloop.cli.screen import err, out

ROWS_AT_ONCE: Final = 100
"""kpi lists at most so many rejected rows in one answer."""
_PERIODS: Final[dict[str, Callable[[Any], str]]] = {
    "day": lambda at: f"{at:%Y-%m-%d}",
    "month": lambda at: f"{at:%Y-%m}",
    "quarter": lambda at: f"{at:%Y}-Q{(at.month + 2) // 3}",
    "year": lambda at: f"{at:%Y}",
}
app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Figures that systems, tests and third parties report."""


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="CSV or XLSX with the template's header (GET …/template).", show_default=False)],
    indicator: Annotated[str, typer.Option("--indicator", "-i", help="Its id in the catalogue.", show_default=False)],
    url: Annotated[str | None, typer.Option(help="kpi's address; by default the local stack's.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="CLOSEDLOOP_TOKEN", help="A manager's token. Better in the variable: others can see options."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Let kpi check every row and keep nothing.")] = False,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook; the first one otherwise.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Instead of what is found out (UTF-8, else GB18030).")] = None,
) -> None:
    """Report the rows of a sheet. Sending it again changes nothing; a row that corrects another needs a reason."""
    if not token:
        raise CommandFailed(
            "Reporting needs a token: give --token or set CLOSEDLOOP_TOKEN; on the local stack `make token ROLE=manager` "
            "prints one."
        )
    address = url or f"http://127.0.0.1:{os.environ.get('KPI_PORT', '8102')}"
    taken = unchanged = refused = 0
    with (
        closing(open_export(file, FileSpec(sheet=sheet, encoding=encoding), ())) as export,
        closing(KpiClient(address, token, indicator)) as kpi,
    ):
        out.print(f"{export.format}.{' Checking only, nothing is kept.' if dry_run else ''}")
        read = _reader(export, file.name, kpi.granularity())
        for rows in _chunks(export.rows()):
            whole = [row for row in rows if row.problem is None]
            answer = kpi.report([read(row.cells) for row in whole], dry_run=dry_run)
            said = {row.number: row.problem for row in rows if row.problem is not None} | {
                whole[index].number: problem for index, problem in answer.rejected
            }
            for number in sorted(said):
                err.print(f"row {number}: {said[number]}", markup=False)
            taken, unchanged, refused = taken + answer.accepted, unchanged + answer.unchanged, refused + len(said)
    out.print(f"{taken} rows {'acceptable' if dry_run else 'accepted'} ({unchanged} of them known already), {refused} rejected.")
    if refused:
        raise typer.Exit(1)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield chunk


def _reader(export: Export, name: str, granularity: str) -> Callable[[Sequence[Cell]], dict[str, str]]:
    """A row's cells → the fields of a report. What stands in the header after a field's name is for people."""
    fields = [column.partition(":")[0].partition("(")[0].strip().lower() for column in export.header]

    def text(field: str, cell: Cell) -> str:
        # a spreadsheet makes a date of 2026-10
        return _PERIODS[granularity](cell) if field == "period" and not isinstance(cell, str) else text_of(cell)

    def read(cells: Sequence[Cell]) -> dict[str, str]:
        found = {field: text(field, cell) for field, cell in zip(fields, cells, strict=True)}
        return {"file": name[:255], **{field: said for field, said in found.items() if said}}

    return read
