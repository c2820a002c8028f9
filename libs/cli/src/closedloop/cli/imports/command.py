"""The `import` command: options, the progress bar, and what is said at the end."""

import os
import time
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from closedloop.cli.imports.checkpoint import Checkpoint, State
from closedloop.cli.imports.conversion import Converter
from closedloop.cli.imports.exports import Export
from closedloop.cli.imports.importing import Importing, Nowhere
from closedloop.cli.imports.ingest_client import IngestClient
from closedloop.cli.imports.mapping import TYPES_OF_KIND, FileSpec, Mapping
from closedloop.cli.imports.mapping_file import load_mapping
from closedloop.cli.imports.opening import open_export
from closedloop.cli.imports.rejects import RejectsFile
from closedloop.cli.imports.report import report
from closedloop.cli.masking import masked
from closedloop.cli.problems import CommandFailed
from closedloop.cli.screen import err, out

EPILOG: Final = (
    "Examples:\n\n"
    "  closedloop import --init complaints > mapping.yaml\n\n"
    "  closedloop import complaints.csv --mapping mapping.yaml --dry-run\n\n"
    "  CLOSEDLOOP_TOKEN=$(make -s token ROLE=producer) closedloop import complaints.csv --mapping mapping.yaml"
)


def _print_example(kind: str | None) -> None:
    if kind is None:
        return
    if kind not in TYPES_OF_KIND:
        raise CommandFailed(f"--init takes one of {', '.join(TYPES_OF_KIND)}, not '{kind}'.")
    print(resources.files("closedloop.cli.imports").joinpath("examples", f"{kind}.yaml").read_text("utf-8"), end="")
    raise typer.Exit


def import_command(
    file: Annotated[Path, typer.Argument(help="The export: CSV (or TSV, …) or XLSX, with a header row.", show_default=False)],
    mapping: Annotated[
        Path,
        typer.Option("--mapping", "-m", help="Which column says what (YAML); --init prints one to start from.", show_default=False),
    ],
    url: Annotated[str | None, typer.Option(help="ingest's address; by default the local stack's.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="CLOSEDLOOP_TOKEN", help="A producer's token. Better in the variable: others can see options."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row by ingest's rules and send nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows go that could not be taken, with row number and reason. [FILE.rejects.csv]")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Instead of what is found out (UTF-8, else GB18030).")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Instead of what is found out (comma, semicolon, tab or pipe).")] = None,
    sheet: Annotated[str | None, typer.Option(help="The workbook's sheet; the first one otherwise.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Rows in one request.")] = 500,
    patience: Annotated[float, typer.Option(min=0, help="How many seconds to wait in a row while ingest takes nothing.")] = 900,
    restart: Annotated[bool, typer.Option("--restart", help="Begin at the first row, even after an interruption.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            callback=_print_example,
            is_eager=True,
            metavar="KIND",
            help="Print an example mapping: complaints, evaluations, enquiries, orders.",
        ),
    ] = None,
) -> None:
    """Send an existing system's export (complaints, evaluations, enquiries, orders) through ingest.

    Rows keep their identity (the mapping's source and id columns): importing a file again, or an overlapping one, changes
    nothing. After an interruption (Ctrl-C, a crash) the same command goes on where it was. Exit code 1 where rows were rejected.
    """
    token = (token or "").strip()
    if not token.isascii() or not token.isprintable():
        raise CommandFailed("The token has characters that no token has; check --token or CLOSEDLOOP_TOKEN.")
    mapped = load_mapping(mapping)
    mapped = _with_options(mapped, encoding, delimiter, sheet)
    address = url or f"http://127.0.0.1:{os.environ.get('INGEST_PORT', '8101')}"
    if not dry_run and not token:
        raise CommandFailed(
            "Sending needs a token: give --token or set CLOSEDLOOP_TOKEN; on the local stack `make token ROLE=producer` prints "
            "one. To only check the file, use --dry-run."
        )
    refused = rejects or file.with_name(file.name + ".rejects.csv")
    if refused.exists() and file.exists() and refused.samefile(file):
        raise CommandFailed("--rejects names the export itself; name another file.")
    with closing(open_export(file, mapped.file, mapped.columns())) as export:
        if dry_run:
            ok = _check(export, mapped, rejects, batch)
        else:
            target = IngestClient(address, token, mapped.kind, patience_s=patience, waiting=_say_waiting)
            checkpoint = Checkpoint.open(file, mapped, address, restart=restart)
            with closing(target):
                ok = _send(export, mapped, target, checkpoint, refused, batch)
    if not ok:
        raise typer.Exit(1)


def _with_options(mapping: Mapping, encoding: str | None, delimiter: str | None, sheet: str | None) -> Mapping:
    """The mapping with what the command line says about the file."""
    said = {"encoding": encoding, "delimiter": delimiter, "sheet": sheet}
    file = FileSpec(**{**mapping.file.model_dump(), **{name: value for name, value in said.items() if value is not None}})
    return mapping.model_copy(update={"file": file})


def _check(export: Export, mapping: Mapping, rejects: Path | None, batch: int) -> bool:
    state = State(file_sha256="", mapping_sha256="", url="")
    refused = RejectsFile(rejects, export.header, 0) if rejects else None
    run = Importing(export, Converter(mapping, export.header), Nowhere(), state, refused, batch)
    out.print(f"{export.format}. Checking only, nothing is sent.")
    _with_progress(export, run, "checking")
    if run.first is not None:
        out.print("The first row as ingest would get it (telephone numbers masked):")
        out.print(f"  {masked(run.first.json.decode())}", markup=False)
    report(run, rejects, "acceptable")
    return state.rejected == 0


def _send(export: Export, mapping: Mapping, target: IngestClient, checkpoint: Checkpoint, rejects: Path, batch: int) -> bool:
    state = checkpoint.state
    out.print(f"{export.format}.")
    if checkpoint.started_over_because:
        out.print(f"Starting from the first row, as {checkpoint.started_over_because}; what was sent before stays counted once.")
    if checkpoint.resumed:
        out.print(f"Going on after row {state.row}: {state.accepted} rows were accepted before, {state.rejected} rejected.")
    refused = RejectsFile(rejects, export.header, state.rejects_bytes)
    run = Importing(export, Converter(mapping, export.header), target, state, refused, batch, checkpoint.save)
    try:
        _with_progress(export, run, "sending")
    except KeyboardInterrupt:
        err.print(f"Stopped. All up to row {state.row} is done; the same command goes on from there.")
        raise typer.Exit(130) from None
    checkpoint.finish()
    report(run, rejects, "accepted by ingest")
    return state.rejected == 0


def _with_progress(export: Export, run: Importing, what: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("row {task.fields[row]}"))
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task(what, total=export.size or None, row=run.state.row)
        run.moved = lambda: progress.update(bar, completed=export.position, row=run.state.row)
        run.run()


def _say_waiting(why: str, seconds: float) -> None:
    err.print(f"{time.strftime('%H:%M:%S')}  {why}; trying again in {seconds:.0f} s (Ctrl-C is safe).")
