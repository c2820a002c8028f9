"""The observed values of the published indicators come out of fitting figures, reported or as events."""

import csv
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from closedloop.kpi.domain.catalogue import EventIndicator, ReportedIndicator
from kpi.counting import Engine
from kpi.desk import Desk
from kpi.test_catalogue_shipped import PUBLISHED

NOVEMBER = "2026-11-01T00:00:00+08:00"
pytestmark = pytest.mark.skipif(not PUBLISHED.exists(), reason=f"{PUBLISHED.name} is not beside the repository")


def observed() -> dict[str, Decimal]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {row["name_en"]: Decimal(row["observed"]) for row in csv.DictReader(file) if row["observed"]}


def shown(value: float, like: Decimal) -> Decimal:
    """The value at the precision at which the observed one was published."""
    return Decimal(repr(value)).quantize(like)


async def test_reported_figures_give_the_observed_values(desk: Desk, engine: Engine) -> None:
    done = 0
    by_name = {indicator.name_en: indicator for indicator in engine.catalogue.indicators}
    for name, expected in observed().items():
        indicator = by_name[name]
        if not isinstance(indicator, ReportedIndicator):
            continue
        period = {"month": "2024-05", "day": "2024-05-31"}[indicator.granularity]
        # as an extract has them: so many of 300,000 cases; a count is what was counted
        cases = 300_000
        share = expected / 100 if indicator.unit == "percent" else expected
        figures = {"numerator": float(round(share * cases)), "denominator": float(cases), "value": float(expected)}
        if indicator.quantities == ("numerator",):
            figures["numerator"] = float(expected)
        await desk.report(indicator.id, {"period": period} | {field: figures[field] for field in indicator.quantities})
        found = await desk.get(f"/v1/indicators/{indicator.id}/value", window="month", at="2024-06-01T00:00:00+08:00")
        assert shown(found["value"], expected) == expected, indicator.id
        done += 1
    assert done == 16


async def test_events_give_the_observed_values(desk: Desk, engine: Engine) -> None:
    expected = observed()
    october, november = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC)
    numbers = iter(range(1_000_000))

    def order(kind: str, **fields: Any) -> dict[str, Any]:
        number = next(numbers)
        return {
            "customer_id": f"C{number}",
            "region": "NJ",
            "order_id": f"O{number}",
            "order_type": kind,
            "status": "completed",
        } | fields

    suspended = int(expected["Diamond, gold and silver customers suspended"])
    await happen(desk, october, (order("suspension", customer_class="gold") for _ in range(suspended)))
    await happen(desk, november, (order("suspension") for _ in range(10_000)))
    await happen(desk, november, (order("resumption", duration_s=400 if n == 0 else 8) for n in range(7_333)))
    await happen(desk, november, (order("top_up", channel="web" if n < 3 else "hotline") for n in range(20)))
    for name, at in (
        ("Diamond, gold and silver customers suspended", NOVEMBER),
        ("Resumed to suspended ratio", "2026-12-01T00:00:00+08:00"),
        ("Timely resumption rate (5 min)", "2026-12-01T00:00:00+08:00"),
        ("Online-hall order share", "2026-12-01T00:00:00+08:00"),
    ):
        (indicator,) = (one for one in engine.catalogue.indicators if one.name_en == name)
        assert isinstance(indicator, EventIndicator)
        found = await desk.get(f"/v1/indicators/{indicator.id}/value", window="month", at=at)
        assert shown(found["value"], expected[name]) == expected[name], name


async def happen(desk: Desk, at: datetime, orders: Any) -> None:
    await desk.happen("orders", "order.status_changed.v1", *((at, data) for data in orders))
