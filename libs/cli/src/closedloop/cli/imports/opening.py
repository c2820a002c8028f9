"""Which reader an export needs."""

from collections.abc import Sequence
from pathlib import Path

from closedloop.cli.imports.exports import Export
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.imports.text_files import TextExport
from closedloop.cli.problems import CommandFailed


def open_export(path: Path, spec: FileSpec, columns: Sequence[str]) -> Export:
    """Open by content, not by name. `columns` are those that the mapping needs. CommandFailed where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise CommandFailed(f"There is no file {path}.") from None
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from None
    if not path.is_file():
        raise CommandFailed(f"{path} is not a file that can be read twice; save the export to a file first.")
    if not head:
        raise CommandFailed(f"{path} is empty.")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise CommandFailed(f"{path} is an old or protected Excel file; save it as .xlsx without a password, or as CSV.")
    if head.startswith(b"PK\x03\x04"):
        from closedloop.cli.imports.workbooks import WorkbookExport  # its reader takes long to load; most exports are text

        return WorkbookExport(path, spec, columns)
    return TextExport(path, spec, columns)
