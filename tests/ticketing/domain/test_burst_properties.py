"""What holds for any history: a firing depends on event time alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.baseline import WINDOW_BINS, fit
from closedloop.ticketing.domain.bins import BIN, BINS_PER_DAY, Bins, bin_of
from closedloop.ticketing.domain.burst import SILENCE, Firing, firings, usual_half_hours
from closedloop.ticketing.domain.everyone import Everyone

SETTINGS = BurstSettings()
DAYS = 40

History: TypeAlias = tuple[Bins, Everyone, datetime]
"""A subject, everyone, and when the record begins."""


@st.composite
def histories(draw: st.DrawFn) -> History:
    """40 days of a subject among others, in which some hours burst; clocks are set within them in two of the zones."""
    zone = ZoneInfo(draw(st.sampled_from(["Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"])))
    recorded = datetime(2026, 3, 1, tzinfo=zone).astimezone(UTC) + draw(st.integers(0, 300)) * BIN
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    per_day = draw(st.sampled_from([0.5, 5, 30, 200, 3000]))
    rates = np.full(DAYS * BINS_PER_DAY, per_day / BINS_PER_DAY)
    for _ in range(draw(st.integers(0, 6))):
        begin, length = int(rng.integers(0, len(rates))), int(rng.integers(1, 300))
        rates[begin : begin + length] *= rng.uniform(2, 30)
    subject = Bins(bin_of(recorded), rng.poisson(rates))
    others = rng.poisson(draw(st.sampled_from([0.0, 20.0])), len(rates))
    return subject, Everyone(Bins(subject.first, subject.counts + others), zone, recorded), recorded


def run(history: History, cuts: list[timedelta]) -> list[Firing]:
    """From the beginning of the record to its end, evaluated in pieces."""
    subject, everyone, recorded = history
    found: list[Firing] = []
    edges = sorted([timedelta(0), *cuts, timedelta(days=DAYS)])
    for after, until in pairwise(edges):
        found += firings(subject, everyone, SETTINGS, after=recorded + after, until=recorded + until, earlier=found)
    return found


cuts = st.lists(st.integers(0, DAYS * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)), max_size=40)


@given(histories(), cuts)
@settings(max_examples=40, deadline=None)
def test_firings_do_not_depend_on_how_a_span_is_cut(history: History, cuts: list[timedelta]) -> None:
    assert run(history, cuts) == run(history, [])  # to the last bit of expected and p_value


@given(histories(), st.integers(1, DAYS * BINS_PER_DAY))
@settings(max_examples=40, deadline=None)
def test_live_with_what_is_known_by_then_equals_a_replay(history: History, steps: int) -> None:
    subject, everyone, recorded = history
    until = recorded + steps * BIN
    known = Bins(subject.first, subject.counts[:steps])
    live = firings(known, everyone, SETTINGS, after=recorded, until=until)
    assert live == [f for f in run(history, []) if f.window_end <= until]


@given(histories())
@settings(max_examples=40, deadline=None)
def test_each_firing_says_what_was_counted(history: History) -> None:
    subject, _, _ = history
    found = run(history, [])
    for firing in found:
        seen = subject.between(bin_of(firing.window_start), bin_of(firing.window_end)).sum()
        assert firing.observed == seen >= max(5, 1.5 * firing.expected)
        assert firing.window_end - firing.window_start == firing.window
        assert 0 <= firing.p_value <= SETTINGS.p_limit(0)
    for earlier, later in pairwise(found):
        assert later.window_end - earlier.window_end >= SILENCE


@given(histories(), st.integers(5, DAYS - 2))
@settings(max_examples=20, deadline=None)
def test_the_p_value_is_that_of_a_negative_binomial_count(history: History, day: int) -> None:
    subject, everyone, recorded = history
    after = recorded + timedelta(days=day)
    for firing in firings(subject, everyone, SETTINGS, after=after, until=after + timedelta(days=1)):
        frame = everyone.frame((firing.window_end - BIN / 2).astimezone(everyone.zone).date())
        assert frame is not None
        counts = subject.between(frame.baseline_first, frame.baseline_stop)
        baseline = fit(counts, frame, usual_half_hours(frame, []))
        mean, size = baseline.expect(frame, np.array([bin_of(firing.window_end)]))
        place = WINDOW_BINS.tolist().index(firing.window // BIN)
        mu, r = mean[place, 0], size[place, 0]
        assert firing.expected == mu
        assert firing.p_value == pytest.approx(nbinom.sf(firing.observed - 1, r, r / (r + mu)), rel=1e-6, abs=1e-300)
