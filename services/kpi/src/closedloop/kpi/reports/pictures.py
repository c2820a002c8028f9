"""Pictures as SVG text: small, without script, the same in every browser and on paper. Colours carry nothing that words do not."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from closedloop.kpi.domain.control import Point
from closedloop.kpi.domain.report import Figure, Judgement, MonthAmount, Section, UnitAmount
from closedloop.kpi.domain.windows import time_of

COLOURS: Final[dict[Judgement, str]] = {
    "ok": "#2f8f5b",
    "short": "#c9a227",
    "warning": "#d97b1f",
    "critical": "#b8352c",
    "too_few": "#b7bec6",
    "no_data": "#9aa3ad",
    "not_judged": "#5b7ea8",
}
WORDS: Final[dict[Judgement, str]] = {
    "ok": "on target",
    "short": "target missed",
    "warning": "warning",
    "critical": "critical",
    "too_few": "too few to judge",
    "no_data": "no data",
    "not_judged": "no target",
}
_LINE: Final = "#1f4e79"
_MUTED: Final = "#8a939c"
_WIDTH, _HEIGHT, _MARGIN = 220, 56, 4


def trend(points: Sequence[MonthAmount], target: float | None) -> str:
    """The months as a line, gaps where nothing is known, the last one marked; the target dashed."""
    values = [point.amount.value for point in points]
    known = [value for value in (*values, target) if value is not None]
    if all(value is None for value in values):
        return _svg(_WIDTH, _HEIGHT, f'<text x="4" y="32" font-size="11" fill="{_MUTED}">no figures yet</text>', "no figures yet")
    low, high = min(known), max(known)
    span = high - low or abs(high) or 1.0

    def x(index: int) -> float:
        return _MARGIN + index * (_WIDTH - 2 * _MARGIN - 4) / max(1, len(points) - 1)

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - (value - low) / span * (_HEIGHT - 2 * _MARGIN)

    parts = []
    if target is not None:
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(target):.1f}" y2="{y(target):.1f}" stroke="{_MUTED}" '
            'stroke-width="1" stroke-dasharray="4 3"/>'
        )
    for run in _runs(values, lambda index, value: f"{x(index):.1f},{y(value):.1f}"):
        parts.append(f'<polyline points="{" ".join(run)}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>')
        if len(run) == 1:
            px, py = run[0].split(",")
            parts.append(f'<circle cx="{px}" cy="{py}" r="1.8" fill="{_LINE}"/>')
    if values[-1] is not None:
        parts.append(f'<circle cx="{x(len(values) - 1):.1f}" cy="{y(values[-1]):.1f}" r="3" fill="{_LINE}"/>')
    words = f"{points[0].month} to {points[-1].month}, from {low:.6g} to {high:.6g}"
    return _svg(_WIDTH, _HEIGHT, "".join(parts), words)


def control_chart(name: str, unit: str, points: Sequence[Point], zone: ZoneInfo) -> str:
    """A control chart: the values, the centre line, the limits as they were for each period, and what signals."""
    width, height, left, top, bottom = 760, 260, 56, 34, 34
    known = [number for point in points for number in (point.value, point.lower, point.upper) if number is not None]
    if not known:
        return _svg(width, 60, f'<text x="8" y="34" font-size="13" fill="{_MUTED}">{escape(name)}: no figures yet</text>', name)
    low, high = min(known), max(known)
    span = high - low or abs(high) or 1.0

    def at(index: int, value: float) -> str:
        x = left + index * (width - left - 16) / max(1, len(points) - 1)
        return f"{x:.1f},{top + (high - value) / span * (height - top - bottom):.1f}"

    def line(values: Sequence[float | None], style: str) -> str:
        return "".join(f'<polyline points="{" ".join(run)}" fill="none" {style}/>' for run in _runs(values, at))

    dashed = f'stroke="{COLOURS["critical"]}" stroke-width="1" stroke-dasharray="5 3"'
    parts = [
        f'<text x="8" y="20" font-size="14" fill="#222">{escape(name)} ({escape(unit)})</text>',
        line([point.upper for point in points], dashed),
        line([point.lower for point in points], dashed),
        line([point.centre for point in points], f'stroke="{_MUTED}" stroke-width="1"'),
        line([point.value for point in points], f'stroke="{_LINE}" stroke-width="1.5"'),
    ]
    for index, point in enumerate(points):
        if point.value is not None:
            x, y = at(index, point.value).split(",")
            colour, radius = (_LINE, 2) if point.rule is None else (COLOURS["critical"], 5)
            when = time_of(point.start).astimezone(zone).strftime("%Y-%m-%d %H:%M")
            said = f"{when}: {number(point.value)}" + ("" if point.rule is None else f", {point.rule}")
            parts.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"><title>{escape(said)}</title></circle>')
    for value in (low, (low + high) / 2, high):
        level = float(at(0, value).split(",")[1])
        parts.append(
            f'<text x="{left - 6}" y="{level + 4:.1f}" font-size="11" fill="#444" text-anchor="end">{number(value)}</text>'
        )
    for index, anchor in ((0, "start"), (len(points) - 1, "end")):
        x = at(index, low).split(",")[0]
        when = time_of(points[index].start).astimezone(zone).strftime("%Y-%m-%d %H:%M")
        parts.append(f'<text x="{x}" y="{height - 12}" font-size="11" fill="#444" text-anchor="{anchor}">{when}</text>')
    signalled = sum(point.rule is not None for point in points)
    return _svg(width, height, "".join(parts), f"control chart of {name}: {len(points)} periods, {signalled} signal")


def _runs(values: Sequence[float | None], at: Callable[[int, float], str]) -> list[list[str]]:
    """The stretches of neighbours that are known, as points."""
    runs: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(at(index, value))
    return [run for run in runs if run]


def worst_units(units: Sequence[UnitAmount], better: str) -> str:
    """The worst regions as bars, the worst on top."""
    if not units:
        return ""
    row, name_width = 15, 62
    most = max(abs(unit.amount.value or 0.0) for unit in units) or 1.0
    parts = []
    for index, unit in enumerate(units):
        value = unit.amount.value or 0.0
        width = (_WIDTH - name_width - 52) * abs(value) / most
        top = index * row
        name = unit.region if len(unit.region) <= 9 else unit.region[:8] + "…"
        parts.append(
            f'<text x="0" y="{top + 11}" font-size="10" fill="#333">{escape(name)}</text>'
            f'<rect x="{name_width}" y="{top + 3}" width="{max(width, 0.5):.1f}" height="9" fill="{_LINE}" opacity="0.75"/>'
            f'<text x="{name_width + width + 4:.1f}" y="{top + 11}" font-size="10" fill="#333">{number(value)}</text>'
        )
    direction = "lowest" if better == "higher" else "highest"
    return _svg(_WIDTH, row * len(units) + 2, "".join(parts), f"regions with the {direction} values")


def overview(sections: Sequence[Section]) -> str:
    """Each section as a bar of its indicators, one cell each, coloured and worded by how they were judged."""
    row, left, cell = 24, 190, 15
    order = list(COLOURS)
    widest = max((len(section.figures) for section in sections), default=1)
    width, parts = left + widest * cell + 10, []
    for index, section in enumerate(sections):
        top = index * row
        parts.append(f'<text x="0" y="{top + 16}" font-size="12" fill="#222">{escape(title(section))}</text>')
        ranked = sorted(section.figures, key=lambda figure: order.index(figure.judgement))
        for place, figure in enumerate(ranked):
            parts.append(
                f'<rect x="{left + place * cell}" y="{top + 5}" width="{cell - 3}" height="13" rx="2" '
                f'fill="{COLOURS[figure.judgement]}"><title>{escape(figure.name_en)}: {WORDS[figure.judgement]}</title></rect>'
            )
    return _svg(width, row * max(1, len(sections)), "".join(parts), "how each indicator was judged, section by section")


def title(section: Section) -> str:
    """A section's name for people."""
    return section.name.replace("_", " ").capitalize()


def number(value: float | None) -> str:
    """A figure for people: grouped, no more digits than say something."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}".rstrip("0").rstrip(".")


def count_of(figures: Sequence[Figure], judgement: Judgement) -> int:
    """How many were judged so."""
    return sum(figure.judgement == judgement for figure in figures)


def _svg(width: float, height: float, content: str, words: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(words)}" font-family="sans-serif" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">{content}</svg>'
    )
