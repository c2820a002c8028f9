"""Delimited text as systems export it: whatever its encoding and delimiter, the rows come out as they went in."""

import csv
import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closedloop.cli.imports.exports import Row
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.imports.opening import open_export
from closedloop.cli.imports.text_files import detect_encoding
from closedloop.cli.problems import CommandFailed

HEADER = ["投诉编号", "时间", "内容"]
CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=20)


def read(path: Path, spec: FileSpec | None = None, columns: Sequence[str] = HEADER) -> list[Row]:
    with closing(open_export(path, spec or FileSpec(), columns)) as export:
        return list(export.rows())


def write(path: Path, rows: Sequence[Sequence[str]], encoding: str, delimiter: str, header: Sequence[str] = HEADER) -> None:
    text = io.StringIO(newline="")
    out = csv.writer(text, delimiter=delimiter)
    out.writerow(header)
    out.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=8),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_rows_come_out_as_they_went_in(tmp_path: Path, rows: list[tuple[str, str, str]], encoding: str, delimiter: str) -> None:
    write(tmp_path / "export.csv", rows, encoding, delimiter)
    found = read(tmp_path / "export.csv")
    assert [tuple(row.cells) for row in found] == rows
    assert [row.number for row in found] == list(range(2, len(rows) + 2))
    assert all(row.problem is None for row in found)


def test_a_text_that_is_gb18030_only_far_behind_its_beginning_is_still_found_out(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_bytes(b"a,b\n" + b"1,2\n" * 500_000 + "南,京\n".encode("gb18030"))
    assert detect_encoding(file) == "gb18030"
    assert list(read(file, columns=["a", "b"])[-1].cells) == ["南", "京"]


def test_bytes_of_no_known_encoding_are_told_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_bytes(b"a,b\n1,\xff\xff\n")
    with pytest.raises(CommandFailed, match=r"neither UTF-8 \(see byte 6\) nor GB18030; say how it is written with --encoding"):
        read(file, columns=["a"])
    assert list(read(file, FileSpec(encoding="cp1252"), ["a"])[0].cells) == ["1", "ÿÿ"]
    with pytest.raises(CommandFailed, match="not utf-8 text"):
        read(file, FileSpec(encoding="utf-8"), ["a"])
    with pytest.raises(CommandFailed, match="'utf-99' is not an encoding"):
        read(file, FileSpec(encoding="utf-99"), ["a"])


def test_a_broken_row_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text('a,b\n1,2\n3\n"4"x,5\n\n6,7,8\n9,"1\n0"\n')
    found = read(file, columns=["a"])
    assert [(row.number, row.problem is None) for row in found] == [(2, True), (3, False), (4, False), (6, False), (7, True)]
    assert found[1].problem == "has 1 cells where the header has 2"
    assert "not well-formed (up to line 4)" in str(found[2].problem)
    assert list(found[4].cells) == ["9", "1\n0"]


def test_a_quote_that_is_never_closed_does_not_take_the_rest_of_the_file_into_memory(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("a,b\n1,2\n" + '3,"never closed\n' + "4,5\n" * 200_000)
    found = read(file, columns=["a"])
    assert found[0].problem is None
    assert "not well-formed" in str(found[1].problem)
    assert max(len(str(cell)) for row in found for cell in row.cells) < 300_000


def test_a_missing_column_is_named_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("ticket;customer\n1;2\n")
    with pytest.raises(CommandFailed, match="has no column 'tickets', which the mapping names; is 'ticket' meant"):
        read(file, columns=["tickets", "customer"])


def test_a_mapped_column_that_is_there_twice_is_refused_and_others_may_be(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("a,b,b\n1,2,3\n")
    assert len(read(file, columns=["a"])) == 1
    with pytest.raises(CommandFailed, match="has 2 columns named 'b'"):
        read(file, columns=["a", "b"])


def test_rows_above_the_header_can_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("Complaints of June\n\na;b\n1;2\n")
    [row] = read(file, FileSpec(header_row=3), ["a", "b"])
    assert (row.number, list(row.cells)) == (4, ["1", "2"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as .xlsx without a password"),
        (b"PK\x03\x04rest", "not an Excel workbook"),
    ],
)
def test_a_file_that_is_none_of_them_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "export").write_bytes(content)
    with pytest.raises(CommandFailed, match=sentence):
        read(tmp_path / "export")
    with pytest.raises(CommandFailed, match="There is no file"):
        read(tmp_path / "other")
