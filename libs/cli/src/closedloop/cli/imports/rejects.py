"""The file of rows that could not be taken: number, reason and the row itself, to be put right and imported again."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from closedloop.cli.imports.cells import Cell, text_of
from closedloop.cli.problems import CommandFailed


class RejectsFile:
    """Written only once there is a reject. UTF-8 with a byte order mark, as spreadsheets expect; readable by its owner only."""

    def __init__(self, path: Path, header: Sequence[str], keep_bytes: int) -> None:
        """Continue a file after its first `keep_bytes`; 0 begins anew."""
        self.path = path
        self._header = header
        self._size = keep_bytes
        try:
            if keep_bytes and path.exists() and path.stat().st_size >= keep_bytes:
                os.truncate(path, keep_bytes)
            else:
                path.unlink(missing_ok=True)
                self._size = 0
        except OSError as error:
            raise self._failed(error) from None

    @property
    def size(self) -> int:
        """Bytes that are surely written."""
        return self._size

    def write(self, rejects: Sequence[tuple[int, str, Sequence[Cell]]]) -> None:
        """Add (row number, reason, cells). CommandFailed where that is not possible."""
        if not rejects:
            return
        text = io.StringIO()
        out = csv.writer(text)
        if self._size == 0:
            text.write("\ufeff")
            out.writerow(["closedloop_row", "closedloop_reason", *self._header])
        for number, reason, cells in rejects:
            out.writerow([number, reason, *(text_of(cell) if not isinstance(cell, str) else cell for cell in cells)])
        raw = text.getvalue().encode(errors="backslashreplace")
        try:
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
                file.write(raw)
        except OSError as error:
            raise self._failed(error) from None
        self._size += len(raw)

    def _failed(self, error: OSError) -> CommandFailed:
        return CommandFailed(f"The rejects file {self.path} cannot be written ({error.strerror}); name another one with --rejects.")
