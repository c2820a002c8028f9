"""The route of backtests."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ
from closedloop.common.http.problems import Forbidden, InvalidRequest
from closedloop.kpi.asking import indicator_of
from closedloop.kpi.backtest_schemas import BacktestOrder, BacktestView, Breaches, LevelsOrder
from closedloop.kpi.backtests import Backtests, Rule
from closedloop.kpi.domain.backtest import DAY, MOST_DAYS, MOST_PERIODS, MOST_SERIES, Levels, TooManySeries, period_ends
from closedloop.kpi.domain.catalogue import EventIndicator, Indicator
from closedloop.kpi.domain.entry_reader import EntryReader, Wrong
from closedloop.kpi.domain.period_states import window_of
from closedloop.kpi.domain.threshold_entries import control_of, is_worse, threshold_of
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints, minute_of
from closedloop.kpi.value import REGION

router = Router(prefix="/v1/indicators", tags=["indicators"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
_WRITTEN: Final = "the request"


@router.post("/{indicator_id}/backtest", summary="Run a changed threshold, a new rule or changed levels over history")
async def backtest(request: Request, reader: Reader, indicator_id: str, body: BacktestOrder) -> BacktestView:
    """At most 400 days (120 periods where only `levels` are tried) and 1,000 series; one runs at a time. Nothing is written.
    Silences and parents play no part."""
    indicator = indicator_of(request, indicator_id)
    backtests: Backtests = request.app.state.backtests
    rules = _rules(body, indicator)
    since, until = minute_of(body.start), minute_of(body.to)
    _check_length(indicator, rules, since, until, request.app.state.zone)
    regions = reader.region_filter()
    for rule in rules:
        if regions is not None and not isinstance(rule, Levels) and REGION not in rule.by:
            raise Forbidden("by: must name region; without it all regions are judged as one, and the token does not cover them")
    try:
        outcome = await backtests.run(indicator, rules, since, until, regions)
    except TooManySeries:
        way_out = "name fewer dimensions"
        raise InvalidRequest(f"by: tells more than {MOST_SERIES:,} series apart; {way_out}", field="by") from None
    except TooManyPoints:
        raise InvalidRequest(f"to: makes more than {MOST_POINTS:,} figures; take a shorter time", field="to") from None
    return BacktestView(indicator_id=indicator.id, raised=Breaches.of(outcome.raised), stated=Breaches.of(outcome.stated))


def _check_length(indicator: Indicator, rules: Sequence[Rule], since: int, until: int, zone: ZoneInfo) -> None:
    if since >= until:
        raise InvalidRequest("to: must be after `from`", field="to")
    if any(not isinstance(rule, Levels) for rule in rules) and until > since + MOST_DAYS * DAY:
        raise InvalidRequest(f"to: must be at most {MOST_DAYS} days after `from`", field="to")
    if until > since + MOST_PERIODS * 366 * DAY or len(period_ends(indicator, zone, since, until)) > MOST_PERIODS + 1:
        raise InvalidRequest(f"to: must be at most {MOST_PERIODS} {window_of(indicator)}s after `from`", field="to")


def _rules(body: BacktestOrder, indicator: Indicator) -> list[Rule]:
    found: list[Rule] = []
    if body.levels is not None:
        found.append(_levels(body.levels, indicator))
    if body.threshold is not None or body.control is not None:
        if not isinstance(indicator, EventIndicator):
            problem = f"{indicator.id} is not computed from events, so only `levels` of its periods can be tried"
            raise InvalidRequest(f"threshold: {problem}", field="threshold")
        found += _of_events(body, indicator)
    if not found:
        raise InvalidRequest("threshold: is missing; send a `threshold`, a `control`, `levels`, or some of them", field="threshold")
    return found


def _levels(order: LevelsOrder, indicator: Indicator) -> Levels:
    warning, critical = order.warning, order.critical
    if warning is None and critical is None:
        raise InvalidRequest("levels: name `warning`, `critical`, or both", field="levels")
    if warning is not None and critical is not None and is_worse(warning, critical, indicator.better):
        problem = f"{critical:g} is better than the warning {warning:g}, although `better` is {indicator.better}"
        raise InvalidRequest(f"levels: critical: {problem}", field="levels")
    return Levels(warning, critical)


def _of_events(body: BacktestOrder, indicator: EventIndicator) -> list[Rule]:
    # the chart's reader asks whether there is a denominator
    written: dict[object, object] = {"denominator": indicator.denominator} if indicator.denominator is not None else {}
    reader = EntryReader(written, _WRITTEN)
    found: list[Any] = []
    try:
        if body.threshold is not None:
            found.append(threshold_of(body.threshold, reader, indicator.dimensions, indicator.better))
        if body.control is not None:
            found.append(control_of(body.control, reader, indicator.dimensions))
    except Wrong as wrong:
        reader.complain("threshold", str(wrong))
    if reader.problems:
        problems = [problem.removeprefix(f"{_WRITTEN}: ") for problem in reader.problems]
        raise InvalidRequest("; ".join(problems), field=problems[0].split(":")[0])
    return found
