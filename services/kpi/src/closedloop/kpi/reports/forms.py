"""A report as JSON, and as a page that prints well."""

from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from closedloop.kpi.domain.report import SHORTCOMINGS, Figure, Report, Restated
from closedloop.kpi.reports import pictures

_PAGES: Final = Environment(
    loader=PackageLoader("closedloop.kpi.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_MOST_REASONS: Final = 5


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
        gathered_on=report.gathered_at.astimezone(ZoneInfo(report.zone)).date().isoformat(),
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
        why=why_restated,
        is_short=lambda figure: figure.judgement in SHORTCOMINGS,
        is_detailed=_is_detailed,
    )
    return page.encode()


def _signed(value: float | None) -> str:
    if value is None:
        return "–"
    return f"+{pictures.number(value)}" if value > 0 else pictures.number(value).replace("-", "−")


def why_restated(item: Restated) -> str:
    """In words: late events, and what was reported after publication."""
    told = [] if not item.events else [f"{abs(item.events):,} {'more' if item.events > 0 else 'fewer'} events"]
    for report in item.reports[:_MOST_REASONS]:
        place = ", ".join(f"{name} {code}" for name, code in sorted(report.dimensions.items()))
        what = f"{report.indicator_id} {report.period}{f' ({place})' if place else ''}"
        told.append(f"{what}: {report.reason or 'reported late'} ({report.by}, {report.at:%Y-%m-%d})")
    if len(item.reports) > _MOST_REASONS:
        told.append(f"and {len(item.reports) - _MOST_REASONS} more reports")
    return "; ".join(told) or "a part of it"


def _is_detailed(figure: Figure) -> bool:
    return bool(figure.breaches or figure.comments or figure.measures or figure.judgement in SHORTCOMINGS)
