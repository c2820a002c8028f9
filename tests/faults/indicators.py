"""Shipped indicators once more, in plain Python, and compared with what kpi shows. Imports nothing of the product.

Left out are those that no event here moves, distinct customers and quantiles.
"""

from collections.abc import Callable, Iterable, Set
from datetime import datetime
from typing import Any

from faults.reading import Services
from faults.traffic import REGIONS, Event

Quantity = Callable[["Fields"], float | None]


class Fields(dict[str, Any]):
    """An event's data and its type; what was left out is None."""

    def __missing__(self, _: str) -> None:
        return None


def fields(event: Event) -> Fields:
    """As the table below reads an event. A ticket is its region's where it has exactly one."""
    data = event["data"]
    regions = data.get("regions", ())
    return Fields(data, type=event["type"], region=data.get("region") or (regions[0] if len(regions) == 1 else None))


def dissatisfied(e: Fields) -> bool:
    """By the contract: `satisfied` decides, else the score's place on the scale 1 to 10."""
    if e["satisfied"] is not None:
        return not e["satisfied"]
    return e["score"] is not None and (e["score"] - 1) / 9 < 0.5


def one(_: Fields) -> float:
    """A count."""
    return 1.0


def _evaluation(e: Fields) -> bool:
    return bool(e["type"] == "evaluation.submitted.v1")


def _registered(e: Fields) -> bool:
    return bool(e["type"] == "complaint.registered.v1")


def _order(*statuses: str, types: Iterable[str] = (), product: str | None = None) -> Callable[[Fields], bool]:
    return lambda e: (
        e["type"] == "order.status_changed.v1"
        and e["status"] in statuses
        and (not types or e["order_type"] in types)
        and product in (None, e["product"])
    )


def _new(e: Fields) -> bool:
    return e["order_type"] not in ("suspension", "resumption", "fault_repair")


def _hours(e: Fields) -> float | None:
    return None if e["duration_s"] is None else e["duration_s"] / 3600


def _within(seconds: float) -> Quantity:
    return lambda e: None if e["duration_s"] is None else e["duration_s"] <= seconds


def _is(status: str) -> Quantity:
    return lambda e: e["status"] == status


def _first_try(e: Fields) -> float | None:
    return 0.0 if e["status"] == "failed" else e["first_try"]


def _first_contact(e: Fields) -> bool:
    return bool(e["type"] == "recovery.contacted.v1" and e["attempt"] in (None, 1))


ended = _order("completed", "failed")
RULES: dict[str, tuple[Callable[[Fields], bool], Quantity, Quantity]] = {
    # which events, what is added up, by what it is divided; an event of which one of the two is unknown is left out
    "dissatisfied_share": (_evaluation, dissatisfied, one),
    "hotline_dissatisfied_share": (lambda e: e["kind"] == "sms_rating" and e["channel"] == "hotline", dissatisfied, one),
    "business_hall_dissatisfied_share": (
        lambda e: e["kind"] == "sms_rating" and e["channel"] == "business_hall",
        dissatisfied,
        one,
    ),
    "mean_satisfaction_score": (_evaluation, lambda e: e["score"], one),
    "sms_ratings": (lambda e: e["kind"] == "sms_rating", one, one),
    "complaint_followup_satisfied_share": (lambda e: e["kind"] == "complaint_followup", lambda e: not dissatisfied(e), one),
    "complaints_registered": (_registered, one, one),
    "broadband_complaints": (lambda e: _registered(e) and e["product"] == "broadband", one, one),
    "severe_complaint_share": (_registered, lambda e: None if e["severity"] is None else e["severity"] <= 2, one),
    "complaint_escalation_share": (
        lambda e: e["type"] in ("complaint.registered.v1", "complaint.escalated.v1"),
        lambda e: e["type"] == "complaint.escalated.v1",
        _registered,
    ),
    "complaint_closed_unsatisfied_share": (lambda e: e["type"] == "complaint.closed.v1", lambda e: not e["satisfied"], one),
    "enquiries_registered": (lambda e: e["type"] == "enquiry.registered.v1", one, one),
    "first_time_order_success_rate": (lambda e: ended(e) and _new(e) and e["channel"] in ("web", "app"), _first_try, one),
    "order_failure_rate": (ended, lambda e: e["status"] == "failed", one),
    "top_up_success_rate": (_order("completed", "failed", types=["top_up"]), lambda e: e["status"] == "completed", one),
    "online_hall_order_share": (
        lambda e: _order("completed")(e) and _new(e),
        lambda e: None if e["channel"] is None else e["channel"] == "web",
        one,
    ),
    "valued_customers_suspended": (
        lambda e: _order("completed", types=["suspension"])(e) and e["customer_class"] in ("diamond", "gold", "silver"),
        one,
        one,
    ),
    "resumed_to_suspended_ratio": (
        _order("completed", types=["suspension", "resumption"]),
        lambda e: e["order_type"] == "resumption",
        lambda e: e["order_type"] == "suspension",
    ),
    "timely_resumption_rate": (_order("completed", types=["resumption"]), lambda e: e["duration_s"] <= 300, one),
    "mean_resumption_time": (_order("completed", types=["resumption"]), lambda e: e["duration_s"], one),
    "broadband_fault_reports": (_order("submitted", types=["fault_repair"], product="broadband"), one, one),
    "broadband_fault_repair_time": (_order("completed", types=["fault_repair"], product="broadband"), _hours, one),
    "leased_line_fault_repair_time": (_order("completed", types=["fault_repair"], product="leased_line"), _hours, one),
    "fault_repair_workload": (_order("completed", types=["fault_repair"]), _hours, one),
    "broadband_install_time": (_order("completed", types=["new_install"], product="broadband"), _hours, one),
    "broadband_install_within_48h_share": (
        _order("completed", types=["new_install"], product="broadband"),
        _within(172_800),
        one,
    ),
    "broadband_install_success_share": (
        _order("completed", "failed", "cancelled", types=["new_install"], product="broadband"),
        _is("completed"),
        one,
    ),
    "broadband_install_first_visit_share": (
        _order("completed", types=["new_install"], product="broadband"),
        lambda e: e["first_try"],
        one,
    ),
    "broadband_fault_repair_within_24h_share": (
        _order("completed", types=["fault_repair"], product="broadband"),
        _within(86_400),
        one,
    ),
    "broadband_fault_first_visit_share": (
        _order("completed", types=["fault_repair"], product="broadband"),
        lambda e: e["first_try"],
        one,
    ),
    "broadband_complaint_closed_unsatisfied_share": (
        lambda e: e["type"] == "complaint.closed.v1" and e["product"] == "broadband",
        lambda e: not e["satisfied"],
        one,
    ),
    "broadband_dissatisfied_share": (lambda e: _evaluation(e) and e["product"] == "broadband", dissatisfied, one),
    "leased_line_install_success_share": (
        _order("completed", "failed", "cancelled", types=["new_install"], product="leased_line"),
        _is("completed"),
        one,
    ),
    "leased_line_fault_repair_within_4h_share": (
        _order("completed", types=["fault_repair"], product="leased_line"),
        _within(14_400),
        one,
    ),
    "leased_line_fault_reports": (_order("submitted", types=["fault_repair"], product="leased_line"), one, one),
    "leased_line_complaints": (lambda e: _registered(e) and e["product"] == "leased_line", one, one),
    "leased_line_dissatisfied_share": (lambda e: _evaluation(e) and e["product"] == "leased_line", dissatisfied, one),
    "ec_dissatisfied_share": (lambda e: _evaluation(e) and e["channel"] in ("web", "app"), dissatisfied, one),
    "hall_order_failure_rate": (lambda e: ended(e) and e["channel"] == "business_hall", _is("failed"), one),
    "top_up_credited_within_5min_share": (_order("completed", types=["top_up"]), _within(300), one),
    "resumption_within_30min_share": (_order("completed", types=["resumption"]), _within(1800), one),
    "resumption_failure_rate": (_order("completed", "failed", types=["resumption"]), _is("failed"), one),
    "suspensions": (_order("completed", types=["suspension"]), one, one),
    "resumptions": (_order("completed", types=["resumption"]), one, one),
    "order_first_try_share": (lambda e: ended(e) and _new(e), _first_try, one),
    "new_install_success_rate": (_order("completed", "failed", types=["new_install"]), _is("completed"), one),
    "fault_reports": (_order("submitted", types=["fault_repair"]), one, one),
    "complaints_closed_ratio": (
        lambda e: e["type"] in ("complaint.registered.v1", "complaint.closed.v1"),
        lambda e: e["type"] == "complaint.closed.v1",
        _registered,
    ),
    # nobody calls a customer or works on a ticket here: those that tell of that stay where they were
    "recoveries_queued": (lambda e: e["type"] == "recovery.queued.v1", one, one),
    "first_contact_within_2h_share": (_first_contact, lambda e: e["seconds_to_first_contact"] <= 7200, one),
    "first_contact_coverage": (
        lambda e: e["type"] == "recovery.queued.v1" or _first_contact(e),
        lambda e: e["type"] == "recovery.contacted.v1",
        lambda e: e["type"] == "recovery.queued.v1",
    ),
    "mean_time_to_first_contact": (_first_contact, lambda e: e["seconds_to_first_contact"], one),
    "recovery_reached_share": (lambda e: e["type"] == "recovery.contacted.v1", lambda e: e["reached"], one),
    "tickets_opened": (lambda e: e["type"] == "ticket.opened.v1", one, one),
    "tickets_closed_effective_share": (
        lambda e: e["type"] == "ticket.closed.v1" and e["outcome"] not in ("duplicate", "merged"),
        lambda e: e["outcome"] == "effective",
        one,
    ),
}


def totals(indicator: str, events: Iterable[Fields]) -> tuple[float, float, int]:
    """(numerator, denominator, how many events stand in them)."""
    chosen, numerator, denominator = RULES[indicator]
    pairs = [(n, d) for e in events if chosen(e) and (n := numerator(e)) is not None and (d := denominator(e)) is not None]
    return float(sum(n for n, _ in pairs)), float(sum(d for _, d in pairs)), len(pairs)


def check_indicators(services: Services, events: Iterable[Event], at: datetime, among: Set[str] = RULES.keys()) -> set[str]:
    """The table's indicators, which kpi must all have, over all and per region, over a window that holds all events. `among`: only
    these are compared. Returns those that moved."""
    everything = [fields(event) for event in events]
    of_region = {region: [e for e in everything if e["region"] == region] for region in REGIONS}
    known = {indicator["id"] for indicator in services.all_of(services.kpi, "/v1/indicators")}
    assert RULES.keys() <= known, RULES.keys() - known
    moved = set()
    for indicator in RULES.keys() & among:
        for region in (None, *REGIONS):
            where = f"&region={region}" if region else ""
            path = f"/v1/indicators/{indicator}/value?window=7d&at={at.strftime('%Y-%m-%dT%H:%M:%SZ')}{where}"
            found = services.get(services.kpi, path)
            numerator, denominator, sample = totals(indicator, of_region[region] if region else everything)
            assert abs(found["numerator"] - numerator) < 1e-6 * max(1, numerator), (indicator, region, found, numerator)
            if found["denominator"] is not None:
                assert abs(found["denominator"] - denominator) < 1e-6, (indicator, region, found, denominator)
            assert found["sample"] == sample, (indicator, region, found, sample)
            if sample:
                moved.add(indicator)
    return moved
