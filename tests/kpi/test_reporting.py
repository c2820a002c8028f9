"""What a report of one figure must say, and when it is a new version."""

import csv
import io
import re
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.common.events.rules import Refused
from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.periods import period_of
from closedloop.kpi.domain.reporting import OtherRegion, changes, read_measurement
from closedloop.kpi.domain.windows import time_of
from closedloop.kpi.measurement_bodies import csv_rows, template
from kpi.shipped import SHIPPED
from kpi.test_catalogue_kinds import REPORTED, scalars

TODAY = date(2026, 11, 20)
SHANGHAI = ZoneInfo("Asia/Shanghai")
ROW: dict[str, Any] = {"period": "2026-10", "region": "NJ", "numerator": 7, "denominator": 2, "file": "oct.xlsx"}


def indicator(**changes: Any) -> ReportedIndicator:
    made, problems = read_entry(REPORTED | {"dimensions": ["region", "customer_class", "channel"]} | changes, "test:1")
    assert isinstance(made, ReportedIndicator), problems
    return made


WAITING = indicator()
SCORE = indicator(reported={"by": "institute"}, granularity="quarter")


@pytest.mark.parametrize(
    ("text", "granularity", "first", "after"),
    [
        ("2026-10-05", "day", date(2026, 10, 5), date(2026, 10, 6)),
        ("2024-02", "month", date(2024, 2, 1), date(2024, 3, 1)),
        ("2026-12", "month", date(2026, 12, 1), date(2027, 1, 1)),
        ("2026-Q3", "quarter", date(2026, 7, 1), date(2026, 10, 1)),
        ("2026-Q4", "quarter", date(2026, 10, 1), date(2027, 1, 1)),
        ("2026", "year", date(2026, 1, 1), date(2027, 1, 1)),
    ],
)
def test_a_period_is_whole_days_of_the_calendar(text: str, granularity: Any, first: date, after: date) -> None:
    period = period_of(text, granularity)
    assert (period.first, period.after) == (first, after)
    start, end = period.minutes(SHANGHAI)
    assert time_of(start).astimezone(SHANGHAI).isoformat() == f"{first}T00:00:00+08:00"
    assert end - start == (after - first).days * 1440


@pytest.mark.parametrize(
    ("text", "granularity", "said"),
    [
        ("2026-10", "day", "must be a day such as 2026-10-05, not `2026-10`"),
        ("2026-13", "month", "`2026-13` is no month of the calendar"),
        ("2026-02-30", "day", "`2026-02-30` is no day of the calendar"),
        ("2026-Q5", "quarter", "must be a quarter such as 2026-Q3"),
        ("1999", "year", "is before 2000"),
        ("9999", "year", "is no year of the calendar"),
        ("٢٠٢٦", "year", "must be a year such as 2026"),
    ],
)
def test_a_wrong_period_is_said_in_words(text: str, granularity: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        period_of(text, granularity)


@given(st.dates(date(2000, 1, 1), date(2200, 1, 1)))
def test_every_day_is_a_period(day: date) -> None:
    assert period_of(day.isoformat(), "day").after - day == timedelta(days=1)


def test_numbers_come_as_numbers_or_as_texts_of_a_sheet() -> None:
    said = read_measurement(ROW | {"numerator": " 7.50 ", "denominator": 2.0, "method": " asked "}, WAITING, None, TODAY)
    assert (said.figures, said.method, said.file) == ((7.5, 2.0, None), "asked", "oct.xlsx")
    assert said.key == ("2026-10", (("region", "NJ"),))
    assert read_measurement({"period": "2026-Q3", "value": "-3e2", "method": "a panel"}, SCORE, None, TODAY).figures == (
        None,
        None,
        -300.0,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"period": None}, "period: is missing; say the month"),
        ({"period": 202610}, "period: must be text"),
        ({"period": "2026-Q3"}, "period: must be a month such as 2026-10, not `2026-Q3`"),
        ({"period": "2026-12"}, "period: `2026-12` has not begun; report it when it is over"),
        ({"region": "N J"}, "region: must match"),
        ({"customer_class": "platinum"}, "customer_class: must be one of diamond, gold, silver, regular, not `platinum`"),
        ({"product": "mobile"}, "product: unknown field"),
        ({"numerater": 1}, "numerater: unknown field; did you mean `numerator`?"),
        ({"value": 3}, "value: unknown field"),
        ({"numerator": None}, "numerator: is missing"),
        ({"numerator": ""}, "numerator: is missing"),
        ({"numerator": "1,234"}, "numerator: must be a number such as 1234.5, without separators, units or %, not `1,234`"),
        ({"numerator": "97%"}, "numerator: must be a number"),
        ({"numerator": True}, "numerator: must be a number"),
        ({"numerator": [1]}, "numerator: must be a number"),
        ({"numerator": float("nan")}, "numerator: must lie within"),
        ({"numerator": "1e300"}, "numerator: must lie within ±1e+12"),
        ({"numerator": -1}, "numerator: must be 0 or more, not -1"),
        ({"denominator": 0}, "denominator: is 0 where the numerator is 7; where nothing happened both are 0"),
        ({"file": " "}, "file: is missing; name the file that it was taken from, or say in `method` how it was got"),
        ({"file": "x" * 256}, "file: has 256 characters; the limit is 255"),
        ({"method": "a\x00b"}, "method: has a control character"),
    ],
)
def test_a_wrong_field_is_named_with_the_way_out(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        read_measurement(ROW | change, WAITING, None, TODAY)
    assert said in str(refused.value)


def test_a_token_reports_its_own_regions_only() -> None:
    assert read_measurement(ROW, WAITING, frozenset({"NJ"}), TODAY).dimensions == {"region": "NJ"}
    with pytest.raises(OtherRegion, match="region: the token does not cover NJ"):
        read_measurement(ROW, WAITING, frozenset({"SZ"}), TODAY)
    with pytest.raises(OtherRegion, match="only a token for all regions may report the whole operator"):
        read_measurement(ROW | {"region": ""}, WAITING, frozenset({"SZ"}), TODAY)


def test_the_current_month_may_be_reported_and_the_next_may_not() -> None:
    assert read_measurement(ROW | {"period": "2026-11"}, WAITING, None, TODAY).period.text == "2026-11"
    with pytest.raises(Refused, match="has not begun"):
        read_measurement(ROW | {"period": "2026-12"}, WAITING, None, TODAY)


def test_a_correction_says_why_and_the_same_figures_change_nothing() -> None:
    same = read_measurement(ROW | {"file": "another.csv"}, WAITING, None, TODAY)
    assert changes(None, same)
    assert not changes((7.0, 2.0, None), same)
    with pytest.raises(Refused, match="reason: is needed: 6 / 2 was reported for it before, and a correction says why"):
        changes((6.0, 2.0, None), same)
    assert changes((6.0, 2.0, None), read_measurement(ROW | {"reason": "late extract"}, WAITING, None, TODAY))


@settings(deadline=None)
@given(
    st.sampled_from([one for one in SHIPPED.indicators if isinstance(one, ReportedIndicator)]),
    st.floats(0, 1e12),
    st.floats(1e-3, 1e12),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_is_filled_into_a_template_is_what_is_read(
    shipped: ReportedIndicator, numerator: float, denominator: float, method: str, delimiter: str
) -> None:
    header = next(csv.reader([template(shipped).removeprefix("\ufeff")]))
    period = {"day": "2026-10-05", "month": "2026-10", "quarter": "2026-Q3", "year": "2026"}[shipped.granularity]
    known = {
        "period": period,
        "region": "NJ",
        "numerator": numerator,
        "denominator": denominator,
        "value": numerator,
        "file": "x.csv",
    }
    sheet = io.StringIO()
    csv.writer(sheet, delimiter=delimiter).writerows(
        [header, [(known | {"method": method}).get(cell.partition(":")[0].partition("(")[0].strip(), "") for cell in header]]
    )
    (row,) = csv_rows(sheet.getvalue().encode(), shipped)
    assert not isinstance(row, Refused)
    said = read_measurement(row, shipped, frozenset({"NJ"}), TODAY)
    assert said.figures == tuple(
        known[name] if name in shipped.quantities else None for name in ("numerator", "denominator", "value")
    )
    assert (said.period.text, dict(said.dimensions), said.method) == (period, {"region": "NJ"}, method.strip() or None)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*ROW, "customer_class", "channel", "file", "reason", "x"]), scalars))
def test_whatever_a_row_says_is_a_figure_or_refused(change: dict[str, Any]) -> None:
    try:
        said = read_measurement(ROW | change, WAITING, None, TODAY)
    except Refused as refused:
        assert refused.problem
    else:
        assert said.numerator is not None and said.denominator is not None
