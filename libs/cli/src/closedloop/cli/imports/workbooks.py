"""XLSX workbooks, read as a stream."""

import datetime as dt
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from closedloop.cli.imports.cells import Cell
from closedloop.cli.imports.exports import Row, check_header
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.problems import CommandFailed


class WorkbookExport:
    """One sheet of a workbook. Memory: one row, and the workbook's table of texts, which XLSX keeps apart."""

    def __init__(self, path: Path, spec: FileSpec, columns: Sequence[str]) -> None:
        self._path = path
        self._header_row = spec.header_row
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # openpyxl on styles that other programs leave out
                self._book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError):
            raise CommandFailed(f"{path} is not an Excel workbook (.xlsx) that can be read; save it again, or as CSV.") from None
        try:
            self._sheet = self._chosen_sheet(spec.sheet)
            self.position = 0
            self.size = int(self._sheet.max_row or 0)
            self._sheet.reset_dimensions()  # some programs write wrong ones, and rows would be left out
            self._rows = self._sheet.iter_rows(values_only=True)
            self.header = self._read_header()
            check_header(path, self.header, columns)
        except BaseException:
            self.close()
            raise

    @property
    def format(self) -> str:
        """The sheet."""
        return f"Excel workbook, sheet '{self._sheet.title}'"

    def close(self) -> None:
        """Close the file."""
        self._book.close()

    def rows(self) -> Iterator[Row]:
        """Row by row; a row that ends early has empty cells."""
        width = len(self.header)
        for number, values in enumerate(self._rows, self._header_row + 1):
            self.position = number
            cells = [_cell(value) for value in values]
            if not any(cells):
                continue
            beyond = [cell for cell in cells[width:] if cell]
            problem = f"has cells beyond the header's {width} columns" if beyond else None
            yield Row(number, [*cells[:width], *[""] * (width - len(cells))], problem)

    def _chosen_sheet(self, name: str | None) -> Any:
        names = self._book.sheetnames
        if name is not None and name not in names:
            raise CommandFailed(f"{self._path} has no sheet '{name}'; it has {', '.join(names)}.")
        sheets = [self._book[name]] if name is not None else self._book.worksheets
        if not sheets or not hasattr(sheets[0], "iter_rows"):
            raise CommandFailed(f"{self._path} has no sheet with rows.")
        return sheets[0]

    def _read_header(self) -> list[str]:
        found: tuple[Any, ...] | None = None
        for _ in range(self._header_row):
            found = next(self._rows, None)
        names = [str(_cell(value)).strip() for value in found or ()]
        while names and not names[-1]:
            names.pop()
        if not names:
            raise CommandFailed(f"{self._path}, sheet '{self._sheet.title}', has no header in row {self._header_row}.")
        return names


def _cell(value: Any) -> Cell:
    """A cell as text, or as a datetime. Excel keeps 211255 as 211255.0: a whole number is written without its point."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, dt.time):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
