"""XLSX workbooks: cells mean what they mean in a spreadsheet."""

from contextlib import closing
from datetime import date, datetime, time
from pathlib import Path

import openpyxl
import pytest

from closedloop.cli.imports.conversion import Converter
from closedloop.cli.imports.exports import Row
from closedloop.cli.imports.mapping import FileSpec
from closedloop.cli.imports.mapping_file import parse_mapping
from closedloop.cli.imports.opening import open_export
from closedloop.cli.problems import CommandFailed

HALF_PAST_EIGHT = datetime.fromisoformat("2026-03-01T08:30:00")
MIDNIGHT = datetime.fromisoformat("2026-03-01T00:00:00")


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "投诉"
    for row in [
        ["ticket", "at", "day", "clock", "vip", "note"],
        [211255, HALF_PAST_EIGHT, date(2026, 3, 1), time(8, 30), True, "一"],
        [211256.0, "2026-03-01 09:00:00", date(2026, 3, 1), time(9, 0), False, None],
        [],
        [211257, None, None, None, None, None, "beyond"],
    ]:
        sheet.append(row)
    book.create_sheet("other").append(["x"])
    path = tmp_path / "export.xlsx"
    book.save(path)
    return path


def read(path: Path, spec: FileSpec | None = None) -> list[Row]:
    with closing(open_export(path, spec or FileSpec(), ["ticket"])) as export:
        return list(export.rows())


def test_numbers_booleans_and_dates_come_as_they_are_meant(workbook: Path) -> None:
    rows = read(workbook)
    assert [row.number for row in rows] == [2, 3, 5]
    assert list(rows[0].cells) == ["211255", HALF_PAST_EIGHT, MIDNIGHT, "08:30:00", "true", "一"]
    assert rows[1].cells[0] == "211256"
    assert rows[2].problem == "has cells beyond the header's 6 columns"


@pytest.mark.parametrize("column", ["at", "[day, clock]"])
def test_a_date_cell_is_in_the_mappings_zone(workbook: Path, column: str) -> None:
    mapping = parse_mapping(
        f"{{kind: enquiries, source: /x, id: ticket, time: {{column: {column}, zone: Asia/Shanghai}},"
        " constants: {region: NJ, topic_path: p}, fields: {customer_id: ticket, enquiry_id: ticket}}",
        "m.yaml",
    )
    with closing(open_export(workbook, FileSpec(), mapping.columns())) as export:
        converter = Converter(mapping, export.header)
        times = [converter.convert(row).json for row in list(export.rows())[:2]]
    assert b'"occurred_at":"2026-03-01T08:30:00+08:00"' in times[0]
    assert b'"occurred_at":"2026-03-01T09:00:00+08:00"' in times[1]


def test_another_sheet_can_be_named_and_a_wrong_name_is_told(workbook: Path) -> None:
    with pytest.raises(CommandFailed, match="has no sheet 'June'; it has 投诉, other"):
        read(workbook, FileSpec(sheet="June"))
    with pytest.raises(CommandFailed, match="has no column 'ticket', which the mapping names; its columns are: x"):
        read(workbook, FileSpec(sheet="other"))
