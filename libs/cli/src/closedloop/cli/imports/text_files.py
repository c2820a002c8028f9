"""CSV and its relatives: encoding and delimiter found out, rows streamed, a broken row isolated."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from closedloop.cli.imports.exports import Row, check_header, shape_problem
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.problems import CommandFailed
from closedloop.common.events.rules import MAX_EVENT_BYTES

DELIMITERS: Final = (",", ";", "\t", "|")
_WORDS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_SAMPLE_CHARS: Final = 65_536
_BLOCK: Final = 1024 * 1024
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class TextExport:
    """A delimited text file. Its memory is that of one row (the largest is an event's limit)."""

    def __init__(self, path: Path, spec: FileSpec, columns: Sequence[str]) -> None:
        csv.field_size_limit(MAX_EVENT_BYTES)
        self._path = path
        self.encoding = _known_encoding(path, spec.encoding) if spec.encoding else detect_encoding(path)
        self._raw = path.open("rb")
        self._text = io.TextIOWrapper(self._raw, self.encoding, errors="strict", newline="")
        self.size = path.stat().st_size
        self._header_row = spec.header_row
        try:
            self.delimiter = _known_delimiter(spec.delimiter) if spec.delimiter else self._sniff(columns)
            self._text.seek(0)
            self._records = csv.reader(self._text, delimiter=self.delimiter, strict=True)
            self.header = self._read_header()
            check_header(path, self.header, columns)
        except BaseException:
            self.close()
            raise

    @property
    def format(self) -> str:
        """Encoding and delimiter."""
        name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}.get(self.delimiter, self.delimiter)
        return f"{self.encoding.removesuffix('-sig').upper()} text, separated by {name}"

    @property
    def position(self) -> int:
        """Bytes taken from the file."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    def rows(self) -> Iterator[Row]:
        """Row by row. CommandFailed where bytes are not of the encoding."""
        number = self._header_row
        while True:
            number += 1
            try:
                cells = next(self._records)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(number, (), f"is not well-formed (up to line {self._records.line_num}): {error}")
                continue
            except UnicodeDecodeError:
                raise self._undecodable(number) from None
            if cells and not (len(cells) == 1 and not cells[0].strip()):
                yield Row(number, cells, shape_problem(cells, self.header))

    def _read_header(self) -> list[str]:
        try:
            for _ in range(self._header_row - 1):
                next(self._records)
            return [name.strip() for name in next(self._records)]
        except StopIteration:
            raise CommandFailed(f"{self._path} has no row {self._header_row} to take as its header.") from None
        except csv.Error as error:
            raise CommandFailed(f"The header of {self._path} is not well-formed: {error}.") from None
        except UnicodeDecodeError:
            raise self._undecodable(self._header_row) from None

    def _sniff(self, columns: Sequence[str]) -> str:
        """The delimiter under which the header has most of the mapped columns, and most columns at all."""
        try:
            sample = self._text.read(_SAMPLE_CHARS)
        except UnicodeDecodeError:
            raise self._undecodable(1) from None

        def fit(delimiter: str) -> tuple[int, int]:
            records = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
            try:
                for _ in range(self._header_row - 1):
                    next(records)
                header = [name.strip() for name in next(records)]
            except (StopIteration, csv.Error):
                return 0, 0
            return len(set(header) & set(columns)), len(header)

        return max(DELIMITERS, key=fit)

    def _undecodable(self, row: int) -> CommandFailed:
        return CommandFailed(
            f"{self._path}, near row {row}: not {self.encoding.removesuffix('-sig')} text; say how it is written with --encoding."
        )


def detect_encoding(path: Path) -> str:
    """By its byte order mark; else UTF-8 if the whole file is; else GB18030 if the whole file is. CommandFailed otherwise."""
    with path.open("rb") as file:
        head = file.read(4)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    wrong_at = _first_undecodable(path, "utf-8")
    if wrong_at is None:
        return "utf-8"
    if _first_undecodable(path, "gb18030") is None:
        return "gb18030"
    raise CommandFailed(f"{path} is neither UTF-8 (see byte {wrong_at}) nor GB18030; say how it is written with --encoding.")


def _first_undecodable(path: Path, encoding: str) -> int | None:
    """About where the first byte stands that is not of the encoding; None where there is none."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    done = 0
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return done + error.start
            if not block:
                return None
            done += len(block)


def _known_encoding(path: Path, name: str) -> str:
    try:
        found = codecs.lookup(name).name
    except LookupError:
        raise CommandFailed(
            f"'{name}' is not an encoding that is known here; utf-8, gb18030, utf-16, cp1252 and others are."
        ) from None
    return "utf-8-sig" if found == "utf-8" else found


def _known_delimiter(word: str) -> str:
    delimiter = _WORDS.get(word.lower(), word)
    if len(delimiter) != 1:
        raise CommandFailed(f"'{word}' is not a delimiter: give one character, or tab, comma, semicolon or pipe.")
    return delimiter
