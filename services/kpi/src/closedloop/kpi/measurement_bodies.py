"""The body of a report, JSON or CSV, as rows; and the CSV template, whose header is in the words of the catalogue's entry."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from closedloop.common.events.rules import Refused
from closedloop.common.events.strict_json import check_strict
from closedloop.common.http.problems import BadRequest, InvalidRequest
from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.expressions import suggestion
from closedloop.kpi.domain.periods import EXAMPLES
from closedloop.kpi.domain.reporting import CHOICES, fields_of

BOM: Final = "\ufeff"
"""Tells spreadsheets that a CSV file is UTF-8."""
_DELIMITERS: Final = ",;\t"
Row = Mapping[str, object] | Refused


def json_rows(body: bytes) -> list[Row]:
    """One object or a list of them. Raises BadRequest where the body is no JSON."""
    try:
        check_strict(body)
        found: Any = json.loads(body)
    except (Refused, ValueError, RecursionError) as problem:
        told = problem.problem if isinstance(problem, Refused) else "is not JSON"
        raise BadRequest(f"The body {told}.") from None
    rows = found if isinstance(found, list) else [found]
    if not rows:
        raise InvalidRequest("The list is empty; send one object at least.")
    return [row if isinstance(row, dict) else Refused("", "must be an object with the fields of a report") for row in rows]


def csv_rows(body: bytes, indicator: ReportedIndicator) -> list[Row]:
    """The rows below a header as the template has it. Raises BadRequest where it is no CSV, InvalidRequest for its header."""
    try:
        text = body.decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, indicator), strict=True)
        header = _fields(next(lines, []), indicator)
        found = [line for line in lines if any(cell.strip() for cell in line)]
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8; save the sheet as `CSV UTF-8`.") from None
    except csv.Error as problem:
        raise BadRequest(f"The body is not CSV: {problem}.") from None
    if not found:
        raise InvalidRequest("There are no rows below the header; send one at least.")
    return [_row(header, line) for line in found]


def template(indicator: ReportedIndicator) -> str:
    """The header line of a CSV report. What stands after a field's name is for people and is not read."""
    out = io.StringIO()
    csv.writer(out).writerow([_told(field, indicator) for field in fields_of(indicator)])
    return BOM + out.getvalue()


def _row(header: Sequence[str], line: Sequence[str]) -> Row:
    if any(cell.strip() for cell in line[len(header) :]):
        return Refused("", f"has {len(line)} cells where the header has {len(header)}")
    return {field: cell for field, cell in zip(header, line, strict=False) if cell.strip()}


def _delimiter(text: str, indicator: ReportedIndicator) -> str:
    """The one under which the header has most of the fields."""
    known = set(fields_of(indicator))
    first = text.partition("\n")[0]
    return max(
        _DELIMITERS, key=lambda delimiter: len(known.intersection(_names(next(csv.reader([first], delimiter=delimiter), []))))
    )


def _names(header: Sequence[str]) -> list[str]:
    return [cell.partition(":")[0].partition("(")[0].strip().lower() for cell in header]


def _fields(header: Sequence[str], indicator: ReportedIndicator) -> list[str]:
    known = fields_of(indicator)
    names = _names(header)
    while names and not names[-1]:
        names.pop()
    for name in names:
        if name not in known:
            raise InvalidRequest(
                f"header: `{name[:64]}` is no field of {indicator.id}{suggestion(name, known)} (there are {', '.join(known)})",
                field=name[:64],
            )
        if names.count(name) > 1:
            raise InvalidRequest(f"header: `{name}` stands there twice; keep one", field=name)
    return names


def _told(field: str, indicator: ReportedIndicator) -> str:
    if field == "period":
        return f"period ({indicator.granularity}, such as {EXAMPLES[indicator.granularity]})"
    if field in CHOICES:
        return f"{field} ({' | '.join(CHOICES[field])})"
    words = {
        "region": "region (empty: the whole operator)",
        "numerator": f"numerator: {indicator.numerator}",
        "denominator": f"denominator: {indicator.denominator}",
        "value": f"value: {indicator.formula or indicator.name_en} ({indicator.unit})",
        "method": "method (how it was got)",
        "reason": "reason (of a correction)",
    }
    return words.get(field, field)
