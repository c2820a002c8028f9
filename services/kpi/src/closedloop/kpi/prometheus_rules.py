"""Prometheus rules made from the catalogue: averages over a day and a week, and per indicator an alert for each level.

One alert rule looks at all series of its indicator: there is none per region. The averages are of what is computed from events: the
figure of a period stands for as long as no newer one is known.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.exporting import ESCALATIONS, LEVELS, QUIET, STATE, Level
from closedloop.kpi.domain.period_states import window_of
from closedloop.kpi.value import REGION

HEADER: Final = "# Written from the indicator catalogue (make rules; GET /v1/alert-rules for the one in force): do not edit.\n"
ALERT: Final = "IndicatorBreached"
UNANSWERED: Final = "IndicatorUnanswered"
LATE: Final = 3
"""So often said again without an answer is somebody else's matter: with the usual hour, after seven hours."""
SEVERITIES: Final[dict[Level, str]] = {"warning": "ticket", "critical": "page"}
_WIDTH: Final = 130
_REGION_IF_ANY: Final = f"{{{{ with $labels.{REGION} }}}}, region {{{{ . }}}}{{{{ end }}}}"
_FILTER_IF_ANY: Final = f"{{{{ with $labels.{REGION} }}}}&region={{{{ . }}}}{{{{ end }}}}"
_NUMERATOR, _DENOMINATOR = (f"indicator:kpi_indicator_{part}:max" for part in ("numerator", "denominator"))


def rules_of(catalogue: Catalogue) -> str:
    """The rule file, as YAML."""
    rules = [
        *_recorded(catalogue),
        *(rule for indicator in catalogue.from_events for rule in alerts_of(indicator)),
        *(alert_of_period(indicator) for indicator in catalogue.by_period),
        *([_unanswered()] if any(indicator.is_judged for indicator in catalogue.indicators) else []),
    ]
    groups = {"groups": [{"name": "indicators", "rules": rules}]}
    return HEADER + yaml.safe_dump(groups, sort_keys=False, allow_unicode=True, width=_WIDTH)


def judged_by(indicator: EventIndicator) -> tuple[str, ...]:
    """The dimensions that its judged series may have."""
    threshold, control = indicator.threshold, indicator.control
    return tuple(dict.fromkeys([*(threshold.by if threshold else ()), *(control.by if control else ())]))


def levels_of(indicator: EventIndicator) -> list[Level]:
    """The levels that it can reach beside ok and pending."""
    threshold, control = indicator.threshold, indicator.control
    reached: set[Level] = {control.level} if control is not None else set()
    if threshold is not None:
        reached |= {"critical"} if threshold.warning is None else {"warning", "critical"}
    return [level for level in SEVERITIES if level in reached]


def _recorded(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """An event stands in the gauge window for as long as the window is: so the averages of numerator and denominator over a day
    weigh each of its events the same, and their quotient is the day's value."""
    for part in ("numerator", "denominator"):
        metric = f"kpi_indicator_{part}"
        whole = f'max by (indicator) ({metric}{{split_by=""}})'
        yield {"record": f"indicator:{metric}:max", "expr": f'{whole} and on (indicator) kpi_indicator_info{{collection="events"}}'}
    scaled: dict[float, list[str]] = {}
    for indicator in catalogue.from_events:
        if indicator.factor_of_unit != 1:
            scaled.setdefault(indicator.factor_of_unit, []).append(indicator.id)
    for days in (1, 7):
        plain, below = _mean(_NUMERATOR, days), f"({_mean(_DENOMINATOR, days)} > 0)"
        quotients = [f"{factor:g} * {_mean(_NUMERATOR, days, ids)} / {below}" for factor, ids in scaled.items()]
        # `or` adds only those that are not there yet: ratios in their own unit, then counts and sums, which have no denominator
        either = [*quotients, f"{plain} / {below}", f"({plain} unless {_mean(_DENOMINATOR, days)})"]
        yield {"record": f"indicator:kpi_indicator_value:avg{days}d", "expr": " or ".join(either)}


def _mean(metric: str, days: int, ids: Sequence[str] = ()) -> str:
    chosen = '{indicator=~"' + "|".join(ids) + '"}' if ids else ""
    return f"avg_over_time({metric}{chosen}[{days}d])"


def alerts_of(indicator: EventIndicator) -> list[dict[str, Any]]:
    """One rule per level that it can reach; the alert has the dimensions of the series as labels."""
    by = judged_by(indicator)
    link = f"/d/closedloop-indicator?var-indicator={indicator.id}"
    return [
        {
            "alert": ALERT,
            "expr": _standing(indicator, by, f"{'>=' if level == 'critical' else '=='} {LEVELS[level]}"),
            "labels": {"severity": severity, "owner": indicator.owner, "indicator": indicator.id},
            "annotations": {
                "summary": (
                    f"{_plain(indicator.name_en)} ({_plain(indicator.name_zh)}){_place(by)} is {level}:"
                    f" {_value(indicator)} {_plain(indicator.unit)}, owner {indicator.owner}"
                ),
                "description": f"{_limit(indicator, level)}The value is over KPI_GAUGE_WINDOW. Series: {_series(indicator)}",
                "runbook_url": f"{{{{ externalURL }}}}/user/runbook.md#{ALERT.lower()}",
                "dashboard_url": link + ("&var-region={{ $labels.region }}" if REGION in by else ""),
            },
        }
        for level in levels_of(indicator)
        for severity in [SEVERITIES[level]]
    ]


def alert_of_period(indicator: Indicator) -> dict[str, Any]:
    """The rule of an indicator that is judged by its levels of a period. However bad last month was, it wakes nobody at night."""
    level = f"{{{{ if eq $value {LEVELS['critical']}.0 }}}}critical{{{{ else }}}}warning{{{{ end }}}}"
    limits = [f"{name} {limit:g}" for name in SEVERITIES if (limit := getattr(indicator, name)) is not None]
    return {
        "alert": ALERT,
        "expr": _standing(indicator, (REGION,), f">= {LEVELS['warning']}"),
        "labels": {"severity": "ticket", "owner": indicator.owner, "indicator": indicator.id},
        "annotations": {
            "summary": (
                f"{_plain(indicator.name_en)} ({_plain(indicator.name_zh)}){_REGION_IF_ANY} is {level} over its last"
                f" {window_of(indicator)}, owner {indicator.owner}"
            ),
            "description": (
                f"Worse than {' or '.join(limits)} {_plain(indicator.unit)}."
                f" Series: GET /v1/indicators/{indicator.id}/series?window={window_of(indicator)}{_FILTER_IF_ANY}"
            ),
            "runbook_url": f"{{{{ externalURL }}}}/user/runbook.md#{ALERT.lower()}",
            "dashboard_url": f"/d/closedloop-indicator?var-indicator={indicator.id}",
        },
    }


def _unanswered() -> dict[str, Any]:
    """Of all indicators: a breach that was said again and again, and that nobody has acknowledged."""
    which = "{{ $labels.indicator }}"
    owner = (
        '{{ with printf "kpi_indicator_info{indicator=\'%s\'}" $labels.indicator | query }}{{ . | first | label "owner" }}{{ end }}'
    )
    return {
        "alert": UNANSWERED,
        "expr": f"max by (indicator, {REGION}) (kpi_indicator_{ESCALATIONS}) >= {LATE}",
        "labels": {"severity": "ticket", "owner": "service-desk"},
        "annotations": {
            "summary": (f"{which}{_REGION_IF_ANY} was said {{{{ $value }}}} times again, and nobody answers; owner {owner}"),
            "description": (
                f"GET /v1/states?indicator={which}{_FILTER_IF_ANY} names it; POST /v1/states/{{id}}/acknowledge is the answer."
            ),
            "runbook_url": f"{{{{ externalURL }}}}/user/runbook.md#{UNANSWERED.lower()}",
            "dashboard_url": f"/d/closedloop-indicator?var-indicator={which}",
        },
    }


def _standing(indicator: Indicator, by: tuple[str, ...], level: str) -> str:
    """The series that stand at a level, but for those of which nobody need be told."""
    state, quiet = (
        f'max by ({", ".join(("indicator", *by))}) (kpi_indicator_{figure}{{indicator="{indicator.id}"}})'
        for figure in (STATE, QUIET)
    )
    return f"{state} {level} unless {quiet} == 1"


def _place(by: tuple[str, ...]) -> str:
    return "".join(f", {name} {{{{ $labels.{name} }}}}" for name in by)


def _value(indicator: EventIndicator) -> str:
    """The value's template. Prometheus has it where the series is exported by the dimensions by which it is judged."""
    by = sorted(judged_by(indicator))
    selector = ", ".join([f"indicator='{indicator.id}'", f"split_by='{','.join(by)}'", *(f"{name}='%s'" for name in by)])
    asked = " ".join([f'printf "max(kpi_indicator_value{{{selector}}})"', *(f"$labels.{name}" for name in by)])
    return f"{{{{ with {asked} | query }}}}{{{{ . | first | value | humanize }}}}{{{{ else }}}}unknown{{{{ end }}}}"


def _limit(indicator: EventIndicator, level: Level) -> str:
    threshold = indicator.threshold
    limit = None if threshold is None else threshold.critical if level == "critical" else threshold.warning
    if threshold is None or limit is None:
        return "Its control chart says that something changed. "
    side = "above" if indicator.better == "lower" else "below"
    return f"It is {side} {limit:g} {_plain(indicator.unit)} over {threshold.window}. "


def _series(indicator: EventIndicator) -> str:
    window = indicator.threshold.window if indicator.threshold is not None else "24h"
    filters = "".join(f"&{name}={{{{ $labels.{name} }}}}" for name in judged_by(indicator))
    return f"GET /v1/indicators/{indicator.id}/series?window={window}{filters}"


def _plain(text: str) -> str:
    """Without what Prometheus would take for a template."""
    return text.replace("{{", "{").replace("}}", "}")
