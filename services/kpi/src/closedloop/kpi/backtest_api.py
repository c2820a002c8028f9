"""The route of backtests."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_READ
from closedloop.common.http.problems import Forbidden, InvalidRequest, NotFound
from closedloop.kpi.backtest_schemas import BacktestOrder, BacktestView, Breaches
from closedloop.kpi.backtests import Backtests
from closedloop.kpi.domain.backtest import DAY, MOST_DAYS, MOST_SERIES, TooManySeries
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.entry_reader import EntryReader, Wrong
from closedloop.kpi.domain.threshold_entries import control_of, threshold_of
from closedloop.kpi.domain.thresholds import Control, Threshold
from closedloop.kpi.domain.windows import minute_of
from closedloop.kpi.value import REGION

router = Router(prefix="/v1/indicators", tags=["indicators"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
_WRITTEN: Final = "the request"


@router.post("/{indicator_id}/backtest", summary="Run a changed threshold or a new rule over history")
async def backtest(request: Request, reader: Reader, indicator_id: str, body: BacktestOrder) -> BacktestView:
    """At most 400 days and 1,000 series; one runs at a time. Nothing is written. Silences and parents play no part."""
    catalogue: Catalogue = request.app.state.catalogue
    backtests: Backtests = request.app.state.backtests
    indicator = catalogue.counted(indicator_id)
    if indicator is None:
        raise NotFound(f"No indicator that is computed from events has the id {indicator_id[:64]!r}.")
    since, until = minute_of(body.start), minute_of(body.to)
    if not since < until <= since + MOST_DAYS * DAY:
        raise InvalidRequest(f"to: must be after `from`, and at most {MOST_DAYS} days later", field="to")
    rules = _rules(body, indicator)
    regions = reader.region_filter()
    for rule in rules:
        if regions is not None and REGION not in rule.by:
            raise Forbidden("by: must name region; without it all regions are judged as one, and the token does not cover them")
    try:
        outcome = await backtests.run(indicator, rules, since, until, regions)
    except TooManySeries:
        way_out = "name fewer dimensions"
        raise InvalidRequest(f"by: tells more than {MOST_SERIES:,} series apart; {way_out}", field="by") from None
    return BacktestView(indicator_id=indicator.id, raised=Breaches.of(outcome.raised), stated=Breaches.of(outcome.stated))


def _rules(body: BacktestOrder, indicator: EventIndicator) -> list[Threshold | Control]:
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
    if not found:
        raise InvalidRequest("threshold: is missing; send a `threshold`, a `control`, or both", field="threshold")
    if reader.problems:
        problems = [problem.removeprefix(f"{_WRITTEN}: ") for problem in reader.problems]
        raise InvalidRequest("; ".join(problems), field=problems[0].split(":")[0])
    return found
