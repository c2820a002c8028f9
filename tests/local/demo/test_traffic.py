"""The demo's city: every event keeps the contract, days have their rhythm, incidents show, nothing depends on when it is run."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from closedloop.common.events.decoder import decode_structured
from closedloop.common.events.model import InputEvent
from closedloop.common.events.rules import check_input
from closedloop.local.demo.incidents import bad_region, burst, of_day
from closedloop.local.demo.timeline import Timeline, clock, complaints_between
from closedloop.local.demo.traffic import HOUR, LONGEST_STORY, Said, Traffic

ZONE = ZoneInfo("Asia/Shanghai")
MONDAY = datetime(2026, 11, 16, tzinfo=ZONE).astimezone(UTC)
QUIET_DAY = next(d for d in (date(2026, 11, 1) + timedelta(days=n) for n in range(30)) if not of_day(d, ZONE))
QUIET = datetime.combine(QUIET_DAY, datetime.min.time(), ZONE).astimezone(UTC)


def _hours(traffic: Traffic, start: datetime, count: int) -> list[Said]:
    return [said for n in range(count) for said in traffic.hour(start + n * HOUR)]


def test_every_event_keeps_the_contract() -> None:
    extra = [burst(MONDAY + 9 * HOUR), bad_region(MONDAY + 9 * HOUR, "NJ")]
    said = _hours(Traffic(ZONE, extra=extra), MONDAY + 8 * HOUR, 4)
    for one in said:
        event = decode_structured(msgspec.json.encode(one.cloud_event()))
        assert isinstance(event, InputEvent)
        check_input(event)
    assert {one.type for one in said} == {
        "evaluation.submitted.v1",
        "complaint.registered.v1",
        "complaint.escalated.v1",
        "complaint.closed.v1",
        "enquiry.registered.v1",
        "order.status_changed.v1",
    }
    assert len({one.id for one in said}) == len(said)
    assert max(one.time for one in said) < MONDAY + 12 * HOUR + LONGEST_STORY


def test_the_same_hour_gives_the_same_events_again() -> None:
    assert list(Traffic(ZONE).hour(MONDAY)) == list(Traffic(ZONE).hour(MONDAY))


def test_the_late_morning_is_busier_than_the_night_and_a_monday_than_a_sunday() -> None:
    city = Traffic(ZONE)
    night, morning = _hours(city, MONDAY + 2 * HOUR, 2), _hours(city, MONDAY + 10 * HOUR, 2)
    assert len(morning) > 5 * len(night)
    assert len(_hours(city, MONDAY, 24)) > 1.1 * len(_hours(city, MONDAY + 6 * 24 * HOUR, 24))


def test_the_rate_multiplies_the_volume() -> None:
    single, double = (len(_hours(Traffic(ZONE, scale), MONDAY, 24)) for scale in (1, 2))
    assert double == pytest.approx(2 * single, rel=0.1)


def test_a_burst_brings_many_complaints_of_one_subject_and_only_while_it_lasts() -> None:
    incident = burst(QUIET + 10 * HOUR)
    subject = incident.topic_path
    per_hour = Counter(
        int((one.time - QUIET) / HOUR)
        for one in _hours(Traffic(ZONE, extra=[incident]), QUIET, 24)
        if one.type == "complaint.registered.v1" and one.data["topic_path"] == subject
    )
    assert min(per_hour[10], per_hour[11]) > 25
    assert max(count for hour, count in per_hour.items() if hour not in (10, 11)) < 10


def test_in_a_badly_served_region_most_ratings_are_low_and_elsewhere_they_are_not() -> None:
    city = Traffic(ZONE, extra=[bad_region(QUIET + 14 * HOUR, "NJ")])
    scores: dict[bool, list[int]] = {True: [], False: []}
    for one in _hours(city, QUIET + 14 * HOUR, 3):
        if one.type == "evaluation.submitted.v1" and one.data["kind"] == "sms_rating":
            scores[one.data["region"] == "NJ"].append(one.data["score"] < 5)
    assert 0.5 < sum(scores[True]) / len(scores[True]) < 0.7
    assert sum(scores[False]) / len(scores[False]) < 0.1


def test_the_timeline_gives_each_event_once_by_time_and_goes_on_with_earlier_stories() -> None:
    start = MONDAY + 10 * HOUR + timedelta(minutes=30)
    timeline = Timeline(Traffic(ZONE, 0.2), start)
    first = timeline.until(start + timedelta(minutes=10))
    then = timeline.until(start + timedelta(minutes=90))
    times = [one.time for one in first + then]
    assert times == sorted(times)
    assert times[0] >= start
    assert times[-1] < start + timedelta(minutes=90)
    assert len({one.id for one in first + then}) == len(times)
    assert any(one.type == "complaint.closed.v1" for one in first + then), "its complaint was registered hours before"


def test_a_timeline_begun_later_gives_the_same_events_from_there_on() -> None:
    start, later, end = MONDAY, MONDAY + 2 * HOUR, MONDAY + 3 * HOUR
    whole = [one for one in Timeline(Traffic(ZONE), start).until(end) if one.time >= later]
    assert Timeline(Traffic(ZONE), later).until(end) == whole


def test_the_history_is_complaints_without_the_burst_of_the_demo_itself() -> None:
    city = Traffic(ZONE, extra=[burst(MONDAY)])
    history = [one for hour in complaints_between(city, MONDAY - 7 * 24 * HOUR, MONDAY) for one in hour]
    assert {one.type for one in history} == {"complaint.registered.v1"}
    assert 300 < len(history) < 700


def test_the_clock_runs_fast_until_it_reaches_the_present_and_never_ahead_of_it() -> None:
    began = MONDAY + 12 * HOUR
    assert clock(MONDAY, began, began + timedelta(minutes=1), 60) == MONDAY + HOUR
    assert clock(MONDAY, began, began + timedelta(hours=1), 60) == began + timedelta(hours=1)
