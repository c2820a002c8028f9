"""Control charts: limits as the books have them, the rules on patterns drawn by hand, and how often they are wrong."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from closedloop.kpi.domain.catalogue import Better
from closedloop.kpi.domain.control import edges, period_before
from closedloop.kpi.domain.control_chart import signals
from closedloop.kpi.domain.thresholds import Control, Rule
from closedloop.kpi.domain.windows import minute_of, time_of
from kpi.in_control import KINDS, RULE_SETS, false_alarms

SHANGHAI = ZoneInfo("Asia/Shanghai")
ALL: tuple[Rule, ...] = ("beyond_limit", "two_of_three", "four_of_five", "eight_on_one_side")


def test_individuals_have_limits_of_2_66_mean_moving_ranges() -> None:
    before = [10.0, 12, 11, 13, 10, 12, 11, 13]
    found = signals("xmr", ("beyond_limit",), "lower", 8, np.array([*before, 20.0]), None)
    mean_range = sum(abs(b - a) for a, b in pairwise(before)) / 7
    assert found.limit[0] == pytest.approx(sum(before) / 8 + 2.66 * mean_range, rel=1e-4)
    assert found.rule.tolist() == ["beyond_limit"]


def test_a_share_has_limits_by_its_own_periods_size() -> None:
    ended = np.array([100.0] * 8 + [400.0])
    failed = np.array([10.0] * 8 + [60.0])
    found = signals("p", ("beyond_limit",), "lower", 8, failed, ended)
    assert found.limit[0] == pytest.approx(0.1 + 3 * (0.1 * 0.9 / 400) ** 0.5)
    assert found.rule.tolist() == ["beyond_limit"]  # 15 %; of 100 orders that would be chance
    assert signals("p", ("beyond_limit",), "lower", 8, np.append(failed[:8], 15.0), np.append(ended[:8], 100.0)).rule.tolist() == [
        ""
    ]


def test_a_rate_has_limits_of_poisson() -> None:
    found = signals("u", ("beyond_limit",), "lower", 8, np.array([50.0] * 8 + [80.0]), np.array([1000.0] * 9))
    assert found.limit[0] == pytest.approx(0.05 + 3 * (0.05 / 1000) ** 0.5)
    assert found.rule.tolist() == ["beyond_limit"]


def test_only_the_side_that_is_worse_signals() -> None:
    steady = [10.0, 12, 11, 13, 10, 12, 11, 13]
    cases: tuple[tuple[Better, float, str], ...] = (("lower", 0.0, ""), ("higher", 0.0, "beyond_limit"), ("higher", 20.0, ""))
    for better, value, expected in cases:
        found = signals("xmr", ALL, better, 8, np.array([*steady, value]), None)
        assert found.rule.tolist() == [expected]


@pytest.mark.parametrize(
    ("rule", "sigmas", "broken"),
    [
        ("two_of_three", [2.2, 0, 2.2], True),
        ("two_of_three", [2.2, 2.2, 0], False),  # it was said a period ago
        ("two_of_three", [2.2, 0, 1.9], False),
        ("two_of_three", [-2.2, 0, 2.2], False),  # not on one side
        ("four_of_five", [1.2, 1.2, 0, 1.2, 1.2], True),
        ("four_of_five", [1.2, 0, 0, 1.2, 1.2], False),
        ("eight_on_one_side", [0.2] * 8, True),
        ("eight_on_one_side", [0.2] * 7, False),
        ("beyond_limit", [3.1], True),
        ("beyond_limit", [2.9], False),
    ],
)
def test_a_rule_sees_its_pattern(rule: Rule, sigmas: list[float], broken: bool) -> None:
    # a long baseline, so that the pattern itself hardly moves its limits: mean 100, moving ranges 1.128, so σ is 1
    swing = np.where(np.arange(1000) % 2, 100 - 0.564, 100 + 0.564)
    series = np.concatenate((swing, np.array([100 - 0.564]), 100 + np.array(sigmas)))
    found = signals("xmr", (rule,), "lower", 1000, series, None)
    assert (found.rule[-1] == rule) is broken


def test_without_enough_periods_or_spread_nothing_is_judged() -> None:
    few = np.array([np.nan] * 0 + [0.0] * 6 + [5.0] * 2 + [9.0])
    assert not signals("xmr", ALL, "lower", 8, few, None).is_judged.any()  # two periods since it began
    assert not signals("p", ALL, "lower", 8, np.zeros(9), np.full(9, 100.0)).is_judged.any()  # it never failed: no spread
    assert not signals("p", ALL, "lower", 8, np.full(9, 10.0), np.append(np.full(8, 100.0), 0.0)).is_judged.any()


def test_a_share_that_is_none_has_no_limits() -> None:
    assert not signals("p", ALL, "lower", 8, np.full(9, 200.0), np.full(9, 100.0)).is_judged.any()


# --- periods ---


def test_days_are_the_operators_and_so_are_hours() -> None:
    def local(text: str) -> int:
        return minute_of(datetime.fromisoformat(text))

    daily = Control("xmr", "day", 8, ("beyond_limit",))
    after, upto = local("2026-11-20T15:00+08:00"), local("2026-11-22T00:00+08:00")
    found = edges(daily, SHANGHAI, after, upto)
    assert found[9:] == [local("2026-11-21T00:00+08:00"), upto]
    assert found[0] == local("2026-11-12T00:00+08:00")
    assert edges(daily, SHANGHAI, after, local("2026-11-20T23:59+08:00")) == []
    assert edges(daily, SHANGHAI, upto, upto + 10) == []
    assert period_before(daily, SHANGHAI, upto + 90) == (local("2026-11-21T00:00+08:00"), upto)

    hourly = Control("xmr", "hour", 8, ("beyond_limit",))
    kathmandu = ZoneInfo("Asia/Kathmandu")
    found = edges(hourly, kathmandu, local("2026-11-20T15:00+05:45"), local("2026-11-20T17:59+05:45"))
    assert found[9:] == [local("2026-11-20T16:00+05:45"), local("2026-11-20T17:00+05:45")]
    assert period_before(hourly, kathmandu, local("2026-11-20T16:40+05:45"))[1] == local("2026-11-20T16:00+05:45")


def test_an_hour_of_the_day_is_compared_with_the_same_hour_of_the_days_before() -> None:
    rhythm = Control("xmr", "hour_of_day", 8, ("beyond_limit",))
    noon = minute_of(datetime.fromisoformat("2026-11-20T12:00+08:00"))
    found = edges(rhythm, SHANGHAI, noon - 1, noon)
    assert (found[-1], len(found)) == (noon, 8 * 24 + 2)
    # ten by day and 1 by night, a little more on every second day; at last 3 in the night
    hours = np.tile(np.where(np.arange(24) < 6, 1.0, 10.0), 9) + np.repeat(np.arange(9) % 2, 24) * 0.2
    night = np.append(hours[: 8 * 24], 3.0)
    assert signals("xmr", ("beyond_limit",), "lower", 8, night, None, every=24).rule.tolist() == ["beyond_limit"]
    assert signals("xmr", ("beyond_limit",), "lower", 8, hours[: 8 * 24 + 1], None, every=24).rule.tolist() == [""]
    assert signals("xmr", ("beyond_limit",), "lower", 8 * 24, night, None).rule.tolist() == [""]  # among all hours 3 is few


def test_an_hour_of_the_day_is_the_same_hour_when_the_clocks_were_changed() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rhythm = Control("xmr", "hour_of_day", 8, ("beyond_limit",))
    for noon in ("2026-10-28T12:00+01:00", "2026-04-01T12:00+02:00"):  # days after the clocks were set back, and forward
        minute = minute_of(datetime.fromisoformat(noon))
        found = edges(rhythm, berlin, minute - 1, minute)
        own = [time_of(edge).astimezone(berlin).strftime("%H:%M") for edge in found[1::24]]
        assert own == ["12:00"] * 9
        assert found == sorted(found)
        assert period_before(rhythm, berlin, minute + 30) == (minute - 60, minute)
    # the hour that comes twice is one period of both, and the one that is left out is an empty one
    back = minute_of(datetime.fromisoformat("2026-10-25T03:00+01:00"))
    assert period_before(rhythm, berlin, back) == (back - 120, back)
    forward = minute_of(datetime.fromisoformat("2026-03-29T03:00+02:00"))
    assert period_before(rhythm, berlin, forward)[1] == forward


def test_a_day_of_25_hours_is_one_period() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    noon = minute_of(datetime(2026, 10, 25, 11, tzinfo=UTC))
    found = edges(Control("xmr", "day", 8, ("beyond_limit",)), berlin, noon, noon + 24 * 60)
    assert found[9] - found[8] == 25 * 60


# --- false alarms ---


def test_false_alarms_are_as_rare_as_the_catalogues_guide_says() -> None:
    """Per 1,000 judged periods; benchmarks/control_false_alarms.py has the exact figures."""
    rates: dict[tuple[str, str, str], float] = {
        (kind.name, kind.chart, title): 1000 * false_alarms(kind, RULE_SETS[title], 28, series=60, periods=300, seed=20261120)
        for kind in KINDS
        if kind.name != "daily rhythm"
        for title in ("beyond_limit", "all four")
    }
    for name, chart in (("normal", "xmr"), ("binomial", "p"), ("poisson", "u")):
        assert 0.5 < rates[name, chart, "beyond_limit"] < 6
        assert rates[name, chart, "beyond_limit"] < rates[name, chart, "all four"] < 14
    # hours with a rhythm: an hour is like that of the days before, and not like the one before
    by_hours = {
        every: 1000 * false_alarms(kind, ("beyond_limit",), baseline, series=20, periods=240, seed=20261120, every=every)
        for kind in KINDS
        if (kind.name, kind.chart) == ("daily rhythm", "p")
        for baseline, every in ((168, 1), (28, 24))
    }
    assert by_hours[1] > 50
    assert by_hours[24] < 6
    # a rate that strolls by itself: p takes that for signals, xmr measures it
    assert rates["overdispersed", "p", "beyond_limit"] > 60
    assert rates["overdispersed", "xmr", "beyond_limit"] < 15
