"""A report as JSON, as a page that prints well, and as a workbook."""

import io
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter

from closedloop.kpi.domain.report import SHORTCOMINGS, Figure, Report
from closedloop.kpi.reports import pictures

_PAGES: Final = Environment(
    loader=PackageLoader("closedloop.kpi.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_COLUMNS: Final = (
    *("section", "indicator", "name", "name_zh", "owner", "class", "phase", "collection", "unit", "judged", "value", "numerator"),
    *("denominator", "counted", "target", "to last month", "to last year", "short since"),
)
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")


def as_json(report: Report) -> bytes:
    """The same report gives the same bytes."""
    return msgspec.json.encode(report, order="deterministic")


def from_json(data: bytes) -> Report:
    """A published report again."""
    return msgspec.json.decode(data, type=Report)


def as_html(report: Report, *, published: bool) -> bytes:
    """One page without script or anything from elsewhere."""

    def picture(draw: Any) -> Any:
        return lambda *arguments: Markup(draw(*arguments))  # noqa: S704 (the pictures escape their texts)

    page = _PAGES.get_template("report.html.j2").render(
        report=report,
        published=published,
        zone=ZoneInfo(report.zone),
        words=pictures.WORDS,
        colours=pictures.COLOURS,
        count=lambda judgement: pictures.count_of(report.figures, judgement),
        overview=picture(pictures.overview),
        trend=picture(pictures.trend),
        worst_units=picture(pictures.worst_units),
        title=pictures.title,
        number=pictures.number,
        signed=_signed,
        is_short=lambda figure: figure.judgement in SHORTCOMINGS,
        is_detailed=_is_detailed,
    )
    return page.encode()


def as_workbook(report: Report) -> bytes:
    """Figures, the months of each, regions, breaches, comments and measures, restatements: a sheet each."""
    book = Workbook(write_only=True)
    _sheet(
        book,
        f"Figures {report.month}",
        _COLUMNS,
        [_figure_row(section.name, f) for section in report.sections for f in section.figures],
    )
    months = [point.month for point in report.figures[0].trend] if report.figures else []
    _sheet(
        book,
        "Months",
        ("indicator", "unit", *months),
        [[f.indicator_id, f.unit, *(p.amount.value for p in f.trend)] for f in report.figures],
    )
    regions = ("indicator", "region", "value", "numerator", "denominator", "counted")
    _sheet(
        book,
        "Worst regions",
        regions,
        [
            [f.indicator_id, unit.region, unit.amount.value, unit.amount.numerator, unit.amount.denominator, unit.amount.sample]
            for f in report.figures
            for unit in f.worst_units
        ],
    )
    zone = ZoneInfo(report.zone)
    _sheet(
        book,
        "Breaches",
        ("indicator", "series", "level", "value", "threshold", f"began ({report.zone})", "ended"),
        [
            [f.indicator_id, b.series, b.level, b.value, b.threshold, _clock(b.began, zone), _clock(b.ended, zone)]
            for f in report.figures
            for b in f.breaches
        ],
    )
    _sheet(
        book,
        "Comments",
        ("indicator", "by", "written", "comment"),
        [[f.indicator_id, c.by, _clock(c.at, zone), c.text] for f in report.figures for c in f.comments],
    )
    _sheet(
        book,
        "Measures",
        ("indicator", "measure", "owner", "due", "state", "percent", "progress"),
        [
            [
                f.indicator_id,
                m.text,
                m.owner,
                m.due,
                m.state,
                m.progress[-1].percent if m.progress else 0,
                m.progress[-1].text if m.progress else "",
            ]
            for f in report.figures
            for m in f.measures
        ],
    )
    if report.restated:
        _sheet(
            book,
            "Restated",
            ("month", "indicator", "unit", "published", "now", "numerator now", "denominator now", "counted now"),
            [
                [r.month, r.indicator_id, r.unit, r.published.value, r.now.value, r.now.numerator, r.now.denominator, r.now.sample]
                for r in report.restated
            ],
        )
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _figure_row(section: str, figure: Figure) -> list[Any]:
    amount = figure.amount
    return [
        *(section, figure.indicator_id, figure.name_en, figure.name_zh, figure.owner, figure.indicator_class, figure.phase),
        *(figure.collection, figure.unit, pictures.WORDS[figure.judgement], amount.value, amount.numerator, amount.denominator),
        *(amount.sample, figure.target, figure.month_on_month, figure.year_on_year, figure.short_since),
    ]


def _sheet(book: Workbook, title: str, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for index, column in enumerate(columns, start=1):
        widest = max([len(column), *(len(str(row[index - 1] or "")) for row in rows[:200])])
        sheet.column_dimensions[get_column_letter(index)].width = min(60, widest + 2)
    head = []
    for column in columns:
        cell = WriteOnlyCell(sheet, value=column)
        cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="E8EDF2")
        head.append(cell)
    sheet.append(head)
    for row in rows:
        sheet.append([_safe(value) for value in row])


def _safe(value: Any) -> Any:
    """A text that a person wrote must not become a formula in the reader's spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_SIGNS) else value


def _clock(at: Any, zone: ZoneInfo) -> str | None:
    return None if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _signed(value: float | None) -> str:
    if value is None:
        return "–"
    return f"+{pictures.number(value)}" if value > 0 else pictures.number(value).replace("-", "−")


def _is_detailed(figure: Figure) -> bool:
    return bool(figure.breaches or figure.comments or figure.measures or (figure.judgement in SHORTCOMINGS and figure.worst_units))
