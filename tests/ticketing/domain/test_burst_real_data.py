"""The batch trigger on 2,224 real complaints of 2015, all as one subject, each ticket as a customer."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.bins import Bins, bin_start
from closedloop.ticketing.domain.burst import Firing, firings
from closedloop.ticketing.domain.distinct import Complaint, distinct
from closedloop.ticketing.domain.everyone import Everyone

EXPORT = Path(__file__).parents[4] / "shared" / "data" / "telecom-complaints-2015.csv"
EASTERN = ZoneInfo("America/New_York")
BURST_BEGINS = datetime(2015, 6, 23, 13, tzinfo=EASTERN)

pytestmark = pytest.mark.skipif(not EXPORT.exists(), reason=f"real complaints are not in the repository: {EXPORT.name} is missing")


@pytest.fixture(scope="module")
def complaints() -> list[Complaint]:
    with EXPORT.open(encoding="utf-8", newline="") as rows:
        return [Complaint(datetime.fromisoformat(row["received_at"]), row["ticket"], row["ticket"]) for row in csv.DictReader(rows)]


# The hours of a day need a fixed zone, not the right one: the operator's is Asia/Shanghai as shipped.
@pytest.fixture(params=["Asia/Shanghai", "America/New_York"])
def fired(request: pytest.FixtureRequest, complaints: list[Complaint]) -> list[Firing]:
    counted = distinct(complaints)
    assert len(counted) == 2224
    subject = Bins.from_times((c.time for c in counted), counted[0].time, datetime(2015, 7, 1, tzinfo=EASTERN).astimezone(UTC))
    recorded = bin_start(subject.first)
    everyone = Everyone(subject, ZoneInfo(request.param), recorded)
    return firings(subject, everyone, BurstSettings(), after=recorded, until=bin_start(subject.stop))


def test_nothing_fires_in_april_and_may(fired: list[Firing]) -> None:
    assert [f for f in fired if f.window_end < datetime(2015, 6, 1, tzinfo=EASTERN)] == []


def test_the_burst_of_23_june_fires_first_and_within_three_hours(fired: list[Firing]) -> None:
    assert BURST_BEGINS < fired[0].window_end <= BURST_BEGINS + timedelta(hours=3)


def test_the_burst_of_three_days_is_stated_once_a_day(fired: list[Firing]) -> None:
    assert [f.window_end - fired[0].window_end for f in fired[1:]] == [timedelta(hours=24), timedelta(hours=48)]
