"""Pictures as SVG text: small, without script, the same in every browser and on paper. Colours carry nothing that words do not."""

from collections.abc import Sequence
from html import escape
from typing import Final

from closedloop.kpi.domain.report import Figure, Judgement, MonthAmount, Section, UnitAmount

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
    run: list[str] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            run.append(f"{x(index):.1f},{y(value):.1f}")
        elif run:
            parts.append(f'<polyline points="{" ".join(run)}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>')
            if len(run) == 1:
                px, py = run[0].split(",")
                parts.append(f'<circle cx="{px}" cy="{py}" r="1.8" fill="{_LINE}"/>')
            run = []
    if values[-1] is not None:
        parts.append(f'<circle cx="{x(len(values) - 1):.1f}" cy="{y(values[-1]):.1f}" r="3" fill="{_LINE}"/>')
    words = f"{points[0].month} to {points[-1].month}, from {low:.6g} to {high:.6g}"
    return _svg(_WIDTH, _HEIGHT, "".join(parts), words)


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
