"""Every shipped indicator is moved by events as an operator would say it by hand."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from closedloop.kpi.domain.aggregates import Distinct, Quantile
from closedloop.kpi.domain.catalogue import EventIndicator
from closedloop.kpi.domain.columns import CONSUMED
from closedloop.kpi.domain.quantiles import ERROR
from kpi.events import frame, sums, value
from kpi.shipped import SHIPPED

PUBLISHED = Path(__file__).parents[3] / "shared" / "indicators.csv"

RATED: dict[str, Any] = {"type": "evaluation.submitted.v1", "kind": "survey"}
SMS = {"type": "evaluation.submitted.v1", "kind": "sms_rating"}
FOLLOWUP = {"type": "evaluation.submitted.v1", "kind": "complaint_followup"}
REGISTERED = {"type": "complaint.registered.v1"}
ESCALATED = {"type": "complaint.escalated.v1"}
CLOSED = {"type": "complaint.closed.v1"}
ORDER: dict[str, Any] = {"type": "order.status_changed.v1", "order_type": "plan_change"}
TOP_UP = ORDER | {"order_type": "top_up"}
SUSPENDED = ORDER | {"order_type": "suspension", "status": "completed"}
RESUMED = ORDER | {"order_type": "resumption", "status": "completed"}
REPAIR = ORDER | {"order_type": "fault_repair", "status": "completed"}
CONTACTED = {"type": "recovery.contacted.v1", "attempt": 1}
TICKET_CLOSED = {"type": "ticket.closed.v1"}

HOUR, DAY = 3600.0, 86400.0
BROADBAND, LINE = {"product": "broadband"}, {"product": "leased_line"}
INSTALLED = ORDER | {"order_type": "new_install", "status": "completed"}


def of_kind(event: dict[str, Any], **field: str) -> list[dict[str, Any]]:
    """An event with the field, one with another code in it and one without."""
    return [event | field, event | dict.fromkeys(field, "other"), event]


def dissatisfied_of(**field: str) -> tuple[list[dict[str, Any]], tuple[float, float | None, float, float]]:
    """One dissatisfied evaluation of four that have the field."""
    ratings = [RATED | field | {"satisfied": satisfied} for satisfied in (False, True, True, True)]
    return [*ratings, RATED | {"satisfied": False}], (1, 4, 4, 25)


def within(event: dict[str, Any], seconds: float) -> tuple[list[dict[str, Any]], tuple[float, float | None, float, float]]:
    """Two that lasted no longer, one that did, and one that does not say."""
    return [event | {"duration_s": lasted} for lasted in (1.0, seconds, seconds + 1)] + [event], (2, 3, 3, 200 / 3)


# indicator → events of its topic, and the (numerator, denominator, sample, value) that they make
EXAMPLES: dict[str, tuple[list[dict[str, Any]], tuple[float, float | None, float, float]]] = {
    "dissatisfied_share": (
        [RATED | {"score": 2.0}, RATED | {"score": 9.0}, SMS | {"satisfied": False}, SMS | {"satisfied": True, "score": 1.0}],
        (2, 4, 4, 50),
    ),
    "hotline_dissatisfied_share": (
        [
            SMS | {"channel": "hotline", "satisfied": False},
            SMS | {"channel": "hotline", "satisfied": True},
            SMS | {"channel": "business_hall", "satisfied": False},
            RATED | {"channel": "hotline", "satisfied": False},
            SMS,
        ],
        (1, 2, 2, 50),
    ),
    "business_hall_dissatisfied_share": (
        [SMS | {"channel": "business_hall", "score": 1.0}, SMS | {"channel": "hotline", "satisfied": False}],
        (1, 1, 1, 100),
    ),
    "mean_satisfaction_score": (
        [RATED | {"score": 10.0}, RATED | {"score": 3.0, "scale_max": 5.0}, RATED | {"satisfied": False}],
        (15.5, 2, 2, 7.75),
    ),
    "sms_ratings": ([SMS, SMS, RATED], (2, None, 2, 2)),
    "complaint_followup_satisfied_share": (
        [FOLLOWUP | {"satisfied": True}, FOLLOWUP | {"score": 1.0}, RATED | {"satisfied": True}],
        (1, 2, 2, 50),
    ),
    "complaints_registered": ([REGISTERED, REGISTERED, ESCALATED, CLOSED], (2, None, 2, 2)),
    "broadband_complaints": (
        [REGISTERED | {"product": "broadband"}, REGISTERED | {"product": "mobile"}, REGISTERED],
        (1, None, 1, 1),
    ),
    "severe_complaint_share": (
        [REGISTERED | {"severity": severity} for severity in (1, 2, 3, 4)] + [REGISTERED],
        (2, 4, 4, 50),
    ),
    "complaint_escalation_share": ([REGISTERED] * 4 + [ESCALATED, CLOSED], (1, 4, 5, 25)),
    "complaint_closed_unsatisfied_share": (
        [CLOSED | {"satisfied": False}] + [CLOSED | {"satisfied": True}] * 3 + [CLOSED, REGISTERED],
        (1, 4, 4, 25),
    ),
    "enquiries_registered": ([{"type": "enquiry.registered.v1"}, REGISTERED], (1, None, 1, 1)),
    "first_time_order_success_rate": (
        [
            ORDER | {"channel": "web", "status": "completed", "first_try": True},
            ORDER | {"channel": "app", "status": "completed", "first_try": False},
            ORDER | {"channel": "web", "status": "failed"},
            # left out: unknown try, other channel, not ended, no order of the customer's
            ORDER | {"channel": "web", "status": "completed"},
            ORDER | {"channel": "hotline", "status": "completed", "first_try": True},
            ORDER | {"channel": "web", "status": "accepted", "first_try": True},
            SUSPENDED | {"channel": "web", "first_try": True},
        ],
        (1, 3, 3, 100 / 3),
    ),
    "order_failure_rate": (
        [ORDER | {"status": "failed"}] + [ORDER | {"status": "completed"}] * 4 + [ORDER | {"status": "cancelled"}],
        (1, 5, 5, 20),
    ),
    "top_up_success_rate": (
        [
            TOP_UP | {"status": "completed"},
            TOP_UP | {"status": "failed"},
            TOP_UP | {"status": "waiting"},
            ORDER | {"status": "failed"},
        ],
        (1, 2, 2, 50),
    ),
    "online_hall_order_share": (
        [ORDER | {"status": "completed", "channel": channel} for channel in ("web", "app", "hotline", None)] + [REPAIR],
        (1, 3, 3, 100 / 3),
    ),
    "valued_customers_suspended": (
        [SUSPENDED | {"customer_class": level} for level in ("diamond", "gold", "silver", "regular")] + [SUSPENDED],
        (3, None, 3, 3),
    ),
    "resumed_to_suspended_ratio": ([SUSPENDED] * 4 + [RESUMED] * 3 + [RESUMED | {"status": "failed"}], (3, 4, 7, 75)),
    "timely_resumption_rate": (
        [RESUMED | {"duration_s": seconds} for seconds in (8.0, 300.0, 301.0)] + [RESUMED],
        (2, 3, 3, 200 / 3),
    ),
    "mean_resumption_time": ([RESUMED | {"duration_s": 8.0}, RESUMED | {"duration_s": 10.0}, RESUMED], (18, 2, 2, 9)),
    "broadband_fault_reports": (
        [REPAIR | {"status": "submitted", "product": "broadband"}, REPAIR | {"status": "completed", "product": "broadband"}],
        (1, None, 1, 1),
    ),
    "broadband_fault_repair_time": (
        [REPAIR | {"product": "broadband", "duration_s": 7200.0}, REPAIR | {"product": "mobile", "duration_s": 3600.0}],
        (2, 1, 1, 2),
    ),
    "leased_line_fault_repair_time": (
        [REPAIR | {"product": "leased_line", "duration_s": 3600.0}, REPAIR | {"product": "leased_line", "duration_s": 10800.0}],
        (4, 2, 2, 2),
    ),
    "fault_repair_workload": ([REPAIR | {"duration_s": 3600.0}, REPAIR | {"duration_s": 1800.0}, REPAIR], (1.5, None, 2, 1.5)),
    # distinct numbers are estimates, of so few exact ones; the bin of a quantile is 1 % wide
    "complaining_customers": ([REGISTERED | {"customer_id": who} for who in ("C1", "C2", "C1")] + [ESCALATED], (2, None, 3, 2)),
    "complaints_per_complaining_customer": ([REGISTERED | {"customer_id": who} for who in ("C1", "C2", "C1")], (3, 2, 3, 1.5)),
    "slow_fault_repair_time": (
        [REPAIR | {"duration_s": 3600.0 * hours} for hours in range(1, 21)] + [REPAIR, RESUMED | {"duration_s": 1e6}],
        (19.0, None, 20, 19.0),
    ),
    "slow_first_contact_time": (
        [CONTACTED | {"seconds_to_first_contact": 60.0 * minutes} for minutes in range(1, 12)] + [CONTACTED | {"attempt": 2}],
        (10.0, None, 11, 10.0),
    ),
    "recoveries_queued": ([{"type": "recovery.queued.v1"}, CONTACTED], (1, None, 1, 1)),
    "first_contact_within_2h_share": (
        [CONTACTED | {"seconds_to_first_contact": seconds} for seconds in (60.0, 7200.0, 7201.0)]
        + [CONTACTED | {"attempt": 2, "seconds_to_first_contact": 60.0}],
        (2, 3, 3, 200 / 3),
    ),
    "first_contact_coverage": (
        [{"type": "recovery.queued.v1"}] * 4 + [CONTACTED, CONTACTED | {"attempt": 2}, {"type": "recovery.closed.v1"}],
        (1, 4, 5, 25),
    ),
    "mean_time_to_first_contact": (
        [CONTACTED | {"seconds_to_first_contact": 60.0}, CONTACTED | {"attempt": None, "seconds_to_first_contact": 120.0}],
        (180, 2, 2, 90),
    ),
    "recovery_reached_share": ([CONTACTED | {"reached": True}, CONTACTED | {"attempt": 2, "reached": False}], (1, 2, 2, 50)),
    "tickets_opened": ([{"type": "ticket.opened.v1"}, TICKET_CLOSED], (1, None, 1, 1)),
    "tickets_closed_effective_share": (
        [TICKET_CLOSED | {"outcome": outcome} for outcome in ("effective", "unfounded", "duplicate", "merged", None)],
        (1, 2, 2, 50),
    ),
    "complaints_closed_ratio": ([REGISTERED] * 4 + [CLOSED] * 3 + [ESCALATED], (3, 4, 7, 75)),
    "business_hall_complaints": (of_kind(REGISTERED, process="business_hall"), (1, None, 1, 1)),
    "business_support_complaints": (of_kind(REGISTERED, process="business_support"), (1, None, 1, 1)),
    "ec_complaints": (of_kind(REGISTERED, process="e_channel"), (1, None, 1, 1)),
    "new_service_complaints": (of_kind(REGISTERED, process="new_service"), (1, None, 1, 1)),
    "promotion_complaints": (of_kind(REGISTERED, process="promotion"), (1, None, 1, 1)),
    "tariff_complaints": (of_kind(REGISTERED, process="tariff"), (1, None, 1, 1)),
    "leased_line_complaints": (of_kind(REGISTERED, product="leased_line"), (1, None, 1, 1)),
    "business_support_dissatisfied_share": dissatisfied_of(process="business_support"),
    "new_service_dissatisfied_share": dissatisfied_of(process="new_service"),
    "promotion_dissatisfied_share": dissatisfied_of(process="promotion"),
    "tariff_dissatisfied_share": dissatisfied_of(process="tariff"),
    "broadband_dissatisfied_share": dissatisfied_of(product="broadband"),
    "leased_line_dissatisfied_share": dissatisfied_of(product="leased_line"),
    "ec_dissatisfied_share": (
        [RATED | {"channel": channel, "satisfied": False} for channel in ("web", "hotline")]
        + [RATED | {"channel": "app", "satisfied": True}],
        (1, 2, 2, 50),
    ),
    "fault_repair_satisfaction": (
        [RATED | {"process": "fault_repair", "satisfied": satisfied} for satisfied in (True, True, True, False)] + [RATED],
        (3, 4, 4, 75),
    ),
    "broadband_field_staff_satisfaction": (
        [RATED | BROADBAND | {"channel": "field", "score": score} for score in (9.0, 1.0)] + [RATED | BROADBAND | {"score": 1.0}],
        (1, 2, 2, 50),
    ),
    "fault_reports": ([REPAIR | {"status": "submitted"}, REPAIR | LINE | {"status": "submitted"}, REPAIR], (2, None, 2, 2)),
    "leased_line_fault_reports": (of_kind(REPAIR | {"status": "submitted"}, product="leased_line"), (1, None, 1, 1)),
    "broadband_fault_repair_within_24h_share": within(REPAIR | BROADBAND, DAY),
    "leased_line_fault_repair_within_4h_share": within(REPAIR | LINE, 4 * HOUR),
    "broadband_fault_first_visit_share": (
        [REPAIR | BROADBAND | {"first_try": first} for first in (True, True, True, False, None)] + [REPAIR | {"first_try": True}],
        (3, 4, 4, 75),
    ),
    "broadband_install_time": (
        [INSTALLED | BROADBAND | {"duration_s": 36 * HOUR}, INSTALLED | {"duration_s": HOUR}],
        (36, 1, 1, 36),
    ),
    "leased_line_install_time": ([INSTALLED | LINE | {"duration_s": 6 * DAY}, REPAIR | LINE | {"duration_s": DAY}], (6, 1, 1, 6)),
    "broadband_install_within_48h_share": within(INSTALLED | BROADBAND, 2 * DAY),
    "broadband_install_success_share": (
        [INSTALLED | BROADBAND | {"status": status} for status in ("completed", "failed", "cancelled", "waiting")] + [INSTALLED],
        (1, 3, 3, 100 / 3),
    ),
    "leased_line_install_success_share": (
        [INSTALLED | LINE | {"status": status} for status in ("completed", "completed", "completed", "failed", "accepted")],
        (3, 4, 4, 75),
    ),
    "broadband_install_first_visit_share": (
        [INSTALLED | BROADBAND | {"first_try": first} for first in (True, False, None)] + [INSTALLED | {"first_try": True}],
        (1, 2, 2, 50),
    ),
    "broadband_install_waiting_share": (
        [INSTALLED | BROADBAND | {"status": status} for status in ("submitted", "submitted", "waiting", "completed")] + [INSTALLED],
        (1, 2, 3, 50),
    ),
    "broadband_complaint_closed_unsatisfied_share": (
        [CLOSED | BROADBAND | {"satisfied": satisfied} for satisfied in (True, False, None)] + [CLOSED | {"satisfied": False}],
        (1, 2, 2, 50),
    ),
    "hall_order_failure_rate": (
        [ORDER | {"channel": "business_hall", "status": status} for status in ("failed", "completed", "cancelled")]
        + [ORDER | {"channel": "web", "status": "failed"}],
        (1, 2, 2, 50),
    ),
    "top_up_credited_within_5min_share": within(TOP_UP | {"status": "completed"}, 300),
    "resumption_within_30min_share": within(RESUMED, 1800),
    "resumption_failure_rate": ([RESUMED] * 3 + [RESUMED | {"status": "failed"}, ORDER | {"status": "failed"}], (1, 4, 4, 25)),
    "suspensions": ([SUSPENDED, SUSPENDED, RESUMED, SUSPENDED | {"status": "failed"}], (2, None, 2, 2)),
    "resumptions": ([SUSPENDED, RESUMED, RESUMED | {"status": "failed"}], (1, None, 1, 1)),
    "order_first_try_share": (
        [
            ORDER | {"status": "completed", "first_try": True},
            ORDER | {"status": "failed"},
            # left out: unknown try, no order of the customer's
            ORDER | {"status": "completed"},
            SUSPENDED | {"first_try": True},
        ],
        (1, 2, 2, 50),
    ),
    "order_handling_time": (
        [event | {"status": "completed", "duration_s": 120.0} for event in (ORDER, TOP_UP, INSTALLED, REPAIR)],
        (4, 2, 2, 2),
    ),
    "order_cancelled_share": (
        [ORDER | {"status": status} for status in ("completed", "failed", "cancelled", "cancelled", "waiting")],
        (2, 4, 4, 50),
    ),
    "order_waiting_share": (
        [ORDER | {"status": status} for status in ("submitted", "submitted", "waiting", "failed")],
        (1, 2, 3, 50),
    ),
    "plan_change_success_rate": (
        [ORDER | {"status": status} for status in ("completed", "failed", "waiting")] + [TOP_UP],
        (1, 2, 2, 50),
    ),
    "new_install_success_rate": (
        [INSTALLED, INSTALLED | BROADBAND, INSTALLED | {"status": "failed"}, INSTALLED | {"status": "cancelled"}],
        (2, 3, 3, 200 / 3),
    ),
    "new_service_activation_success_rate": (
        [ORDER | {"process": "new_service", "status": status} for status in ("completed", "failed", "waiting")]
        + [ORDER | {"status": "failed"}, SUSPENDED | {"process": "new_service"}],
        (1, 2, 2, 50),
    ),
}


def test_every_shipped_indicator_has_an_example() -> None:
    assert EXAMPLES.keys() == {indicator.id for indicator in SHIPPED.from_events}


@pytest.mark.parametrize("indicator_id", EXAMPLES)
def test_events_move_the_indicator(indicator_id: str) -> None:
    indicator = SHIPPED.counted(indicator_id)
    assert indicator is not None
    rows, (numerator, denominator, sample, expected) = EXAMPLES[indicator_id]
    events = frame(indicator.topic, *rows)
    error = ERROR if isinstance(indicator.numerator, Quantile) else 1e-6
    found = sums(indicator, events)
    assert (found[0], found[2]) == pytest.approx((numerator, sample), rel=error)
    assert found[1] == (None if denominator is None else pytest.approx(denominator))
    assert value(indicator, events) == pytest.approx(expected, rel=error)


def test_a_count_a_sum_a_ratio_and_a_mean_are_among_them() -> None:
    counts = [i for i in SHIPPED.from_events if i.denominator is None and i.numerator.text == "1"]
    added = [i for i in SHIPPED.from_events if i.denominator is None and i.numerator.text != "1"]
    ratios = [i for i in SHIPPED.from_events if i.denominator is not None and i.unit == "percent"]
    means = [i for i in SHIPPED.from_events if i.denominator is not None and i.unit != "percent"]
    assert counts and added and ratios and means
    assert {type(i.numerator) for i in SHIPPED.from_events} >= {Distinct, Quantile}


def test_every_topic_that_is_consumed_is_measured() -> None:
    assert set(SHIPPED.topics) == {topic.name for topic in CONSUMED}


VOLUMES = frozenset(
    {
        "billing_refunds",
        "boss_incidents",
        "broadband_complaints",
        "broadband_customers",
        "broadband_fault_reports",
        "broadband_mass_outages",
        "business_hall_complaints",
        "business_support_complaints",
        "complaining_customers",
        "complaints_registered",
        "customers",
        "ec_chat_customers",
        "ec_complaints",
        "enquiries_registered",
        "fault_repair_workload",
        "fault_reports",
        "gotone_customers_suspended",
        "leased_line_circuits",
        "leased_line_complaints",
        "leased_line_fault_reports",
        "new_service_complaints",
        "promotion_complaints",
        "promotion_participants",
        "recoveries_queued",
        "regulator_complaints",
        "resumptions",
        "sms_ratings",
        "suspensions",
        "tariff_complaints",
        "tariffs_on_sale",
        "tickets_opened",
        "valued_customers_suspended",
    }
)
"""How much there is of something: neither good nor bad, and more with more customers. Their rates are judged."""


def test_whatever_is_no_volume_has_a_target_and_a_level_that_warns() -> None:
    bare = {
        one.id
        for one in SHIPPED.indicators
        if one.target is None
        or (
            one.warning is None and not (isinstance(one, EventIndicator) and (one.threshold is not None or one.control is not None))
        )
    }
    assert bare == VOLUMES


def test_no_threshold_stands_on_a_plain_count() -> None:
    assert all(i.denominator is not None for i in SHIPPED.from_events if i.threshold is not None)


def test_complaints_alone_breach_no_shipped_threshold_and_no_chart() -> None:
    # an import of a complaints export, of whatever volume, must not raise a ticket by a breach
    events = frame("complaints", *([REGISTERED] * 200))
    for indicator in SHIPPED.on("complaints"):
        if indicator.threshold is not None or indicator.control is not None:
            assert indicator.value(*sums(indicator, events)[:2]) in (0, None), indicator.id


def test_no_chart_opens_a_ticket() -> None:
    charts = [indicator.control for indicator in SHIPPED.from_events if indicator.control is not None]
    assert charts and {chart.level for chart in charts} == {"warning"}


def test_names_are_given_once_in_each_language() -> None:
    for names in zip(*((indicator.name_en, indicator.name_zh) for indicator in SHIPPED.indicators), strict=True):
        assert {name for name in names if names.count(name) > 1} == set()


def test_every_name_has_its_chinese() -> None:
    assert all(re.search(r"[\u4e00-\u9fff]", indicator.name_zh) for indicator in SHIPPED.indicators)


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"{PUBLISHED.name} is not beside the repository")
def test_all_published_indicators_are_there_as_published() -> None:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    shipped = {indicator.name_en: indicator for indicator in SHIPPED.indicators}
    assert len(published) == 31
    for row in published:
        indicator = shipped[row["name_en"]]
        found = (indicator.name_zh, indicator.process, indicator.factor, indicator.formula, indicator.unit)
        assert found == (row["name_zh"], row["process"], row["factor"], row["formula"], row["unit"])


def test_no_shipped_threshold_flaps_for_want_of_a_hysteresis() -> None:
    judged = {one.id: one.threshold for one in SHIPPED.from_events if one.threshold is not None}
    assert [id_ for id_, threshold in judged.items() if not threshold.hysteresis] == []
