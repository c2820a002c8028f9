"""An export as rows, whatever file it is in."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from closedloop.cli.imports.cells import Cell
from closedloop.cli.problems import CommandFailed


@dataclass(frozen=True, slots=True)
class Row:
    """One data row. `number` is what a spreadsheet shows (the header is in row 1). `problem`: it could not be read."""

    number: int
    cells: Sequence[Cell]
    problem: str | None = None


class Export(Protocol):
    """An open export: its header and, once, its rows."""

    @property
    def header(self) -> Sequence[str]:
        """The names of the columns."""

    @property
    def format(self) -> str:
        """What was found out about the file, for people."""

    @property
    def size(self) -> int:
        """How much there is to read, in the unit of `position`; 0 where that is not known."""

    @property
    def position(self) -> int:
        """How much was read."""

    def rows(self) -> Iterator[Row]:
        """All rows after the header, in order. Empty rows are left out."""

    def close(self) -> None:
        """Release the file."""


def check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """CommandFailed where a mapped column is not there, or is there twice."""
    for column in columns:
        count = header.count(column)
        if count == 1:
            continue
        if count > 1:
            raise CommandFailed(f"{path} has {count} columns named '{column}'; rename one, so that the mapping means one.")
        close = difflib.get_close_matches(column, header, 1)
        hint = f"is '{close[0]}' meant?" if close else f"its columns are: {', '.join(header)}"
        raise CommandFailed(f"{path} has no column '{column}', which the mapping names; {hint[:500]}")


def shape_problem(cells: Sequence[Cell], header: Sequence[str]) -> str | None:
    """Why a row does not fit its header, or None."""
    if len(cells) == len(header):
        return None
    return f"has {len(cells)} cells where the header has {len(header)}"
