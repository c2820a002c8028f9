"""A report as a workbook: sheets for people who calculate on, with pictures where they would rather look."""

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_range
from xlsxwriter.worksheet import Worksheet

from closedloop.kpi.domain.report import Figure, Report
from closedloop.kpi.reports.forms import why_restated
from closedloop.kpi.reports.pictures import COLOURS, WORDS, count_of, title

_FIGURES: Final = (
    *("section", "indicator", "name", "name_zh", "owner", "class", "phase", "collection", "unit", "judged", "value", "numerator"),
    *("denominator", "counted", "target", "to last month", "to last year", "short since", "13 months", "counted only since"),
)
_TREND: Final = _FIGURES.index("13 months")
_MONTHS: Final = "Months"
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
Row = Sequence[Any]


def as_workbook(report: Report) -> bytes:
    """An overview, the figures with their trends, the months of each, regions, breaches, comments and measures, restatements: a
    sheet each."""
    buffer = io.BytesIO()
    # a text that a person wrote is never a formula, nor a link
    book = Workbook(buffer, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    pages = _Pages(book)
    zone = ZoneInfo(report.zone)
    _overview(pages, report)
    figures = pages.add(
        f"Figures {report.month}",
        _FIGURES,
        [_figure(section.name, f, zone) for section in report.sections for f in section.figures],
    )
    _trends(pages, figures, report)
    pages.add(
        "Worst regions",
        ("indicator", "region", "value", "numerator", "denominator", "counted"),
        [
            [f.indicator_id, unit.region, unit.amount.value, unit.amount.numerator, unit.amount.denominator, unit.amount.sample]
            for f in report.figures
            for unit in f.worst_units
        ],
    )
    pages.add(
        "Breaches",
        ("indicator", "series", "level", "value", "threshold", f"began ({report.zone})", "ended"),
        [
            [f.indicator_id, b.series, b.level, b.value, b.threshold, _clock(b.began, zone), _clock(b.ended, zone)]
            for f in report.figures
            for b in f.breaches
        ],
    )
    pages.add(
        "Comments",
        ("indicator", "by", "written", "comment"),
        [[f.indicator_id, c.by, _clock(c.at, zone), c.text] for f in report.figures for c in f.comments],
    )
    pages.add(
        "Measures",
        ("indicator", "measure", "owner", "due", "state", "percent", "progress"),
        [
            [
                f.indicator_id,
                m.text,
                m.owner,
                m.due,
                m.state,
                *((m.progress[-1].percent, m.progress[-1].text) if m.progress else (0, "")),
            ]
            for f in report.figures
            for m in f.measures
        ],
    )
    if report.restated:
        pages.add(
            "Restated",
            ("month", "indicator", "region", "unit", "published", "now", "numerator now", "denominator now", "counted now", "why"),
            [
                [
                    *(r.month, r.indicator_id, r.region, r.unit, r.published.value, r.now.value),
                    *(r.now.numerator, r.now.denominator, r.now.sample, why_restated(r)),
                ]
                for r in report.restated
            ],
        )
    book.close()
    return buffer.getvalue()


class _Pages:
    """Sheets with a head that stays in sight."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self._head = book.add_format({"bold": True, "bg_color": "#E8EDF2"})
        self._judged: dict[str, Format] = {
            word: book.add_format({"font_color": COLOURS[judgement], "bold": True}) for judgement, word in WORDS.items()
        }

    def add(self, name: str, columns: Sequence[str], rows: Sequence[Row]) -> Worksheet:
        """A sheet of these rows; None leaves a cell empty."""
        sheet = self.book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)
        sheet.write_row(0, 0, columns, self._head)
        for number, row in enumerate(rows, start=1):
            for place, value in enumerate(row):
                if value is not None:
                    style = self._judged.get(value) if isinstance(value, str) and columns[place] == "judged" else None
                    sheet.write(number, place, _safe(value), style)
        for place, column in enumerate(columns):
            widest = max([len(column), *(len(str(row[place] or "")) for row in rows[:200] if place < len(row))])
            sheet.set_column(place, place, min(60, widest + 2))
        return sheet


def _overview(pages: _Pages, report: Report) -> None:
    """How many indicators of each section were judged how, and that as bars."""
    name = "Overview"
    words = list(WORDS.items())
    rows = [[title(section), *(count_of(section.figures, judgement) for judgement, _ in words)] for section in report.sections]
    sheet = pages.add(name, ("section", *(word for _, word in words)), rows)
    if not rows:
        return
    chart = pages.book.add_chart({"type": "bar", "subtype": "stacked"})
    for column, (judgement, _) in enumerate(words, start=1):
        chart.add_series(
            {
                "name": [name, 0, column],
                "categories": [name, 1, 0, len(rows), 0],
                "values": [name, 1, column, len(rows), column],
                "fill": {"color": COLOURS[judgement]},
                "gap": 40,
            }
        )
    chart.set_title({"name": f"Service quality, {report.month}"})
    chart.set_y_axis({"reverse": True})
    chart.set_x_axis({"name": "indicators", "min": 0})
    chart.set_size({"width": 900, "height": 120 + 26 * len(rows)})
    sheet.insert_chart(len(rows) + 2, 0, chart, {"description": "how the indicators of each section were judged"})


def _trends(pages: _Pages, figures: Worksheet, report: Report) -> None:
    """The months of each indicator, and beside its figure a picture of them."""
    months = [point.month for point in report.figures[0].trend] if report.figures else []
    pages.add(
        _MONTHS,
        ("indicator", "unit", *months),
        [[f.indicator_id, f.unit, *(p.amount.value for p in f.trend)] for f in report.figures],
    )
    for row in range(1, len(report.figures) + 1):
        options = {"range": f"{_MONTHS}!{xl_range(row, 2, row, 1 + len(months))}", "last_point": True, "show_hidden": True}
        figures.add_sparkline(row, _TREND, options)
    figures.set_column(_TREND, _TREND, 24)


def _figure(section: str, figure: Figure, zone: ZoneInfo) -> Row:
    amount = figure.amount
    return [
        *(section, figure.indicator_id, figure.name_en, figure.name_zh, figure.owner, figure.indicator_class, figure.phase),
        *(figure.collection, figure.unit, WORDS[figure.judgement], amount.value, amount.numerator, amount.denominator),
        *(amount.sample, figure.target, figure.month_on_month, figure.year_on_year, figure.short_since),
        *(None, _clock(figure.counted_from, zone)),
    ]


def _safe(value: Any) -> Any:
    """A text that a person wrote must not become a formula where a reader copies it on."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_SIGNS) else value


def _clock(at: datetime | None, zone: ZoneInfo) -> str | None:
    return None if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M")
