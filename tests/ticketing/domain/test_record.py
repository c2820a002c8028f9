"""Statements over what a database holds: sparse bins, gaps of years, spans cut anywhere."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.ticketing.domain.alarm_rate import BurstSettings
from closedloop.ticketing.domain.bins import BIN, BINS_PER_DAY, Bins, bin_of, bin_start
from closedloop.ticketing.domain.burst import Firing, firings
from closedloop.ticketing.domain.everyone import Everyone
from closedloop.ticketing.domain.record import UNRECORDED, Record, Sparse, burst_firings, load_from

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 2, tzinfo=ZONE).astimezone(UTC)
SETTINGS = BurstSettings()
DAYS = 40


def sparse(counts: np.ndarray, start: datetime = START) -> Sparse:
    return Sparse.of((bin_of(start) + n, int(count)) for n, count in enumerate(counts))


FAR = bin_of(START) + 5000 * BINS_PER_DAY


def ask(subject: Sparse, everyone: Sparse, after: datetime, until: datetime, earlier: list[Firing] | None = None) -> list[Firing]:
    record = Record(everyone, ZONE, FAR)
    return burst_firings(subject, record, SETTINGS, after=after, until=until, earlier=earlier or [])


@st.composite
def histories(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A subject with bursts and silences, and the others, over 40 days."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rates = np.full(DAYS * BINS_PER_DAY, draw(st.sampled_from([0.2, 5, 60])) / BINS_PER_DAY)
    for _ in range(draw(st.integers(0, 4))):
        begin, length = int(rng.integers(0, len(rates))), int(rng.integers(1, 300))
        rates[begin : begin + length] *= rng.choice([0, 20])
    others = rng.poisson(20 / BINS_PER_DAY, len(rates))
    others[0] += 1  # the record begins with the first bin, for all readings alike
    return rng.poisson(rates), others


@given(histories())
@settings(max_examples=25, deadline=None)
def test_it_states_what_the_rule_states_over_all_steps(history: tuple[np.ndarray, np.ndarray]) -> None:
    own, others = history
    subject, everyone = sparse(own), sparse(own + others)
    until = START + timedelta(days=DAYS)
    dense = Everyone(Bins(bin_of(START), own + others), ZONE, START)
    assert ask(subject, everyone, START, until) == firings(Bins(bin_of(START), own), dense, SETTINGS, after=START, until=until)


@given(histories(), st.lists(st.integers(0, DAYS * 24 * 60).map(lambda m: timedelta(minutes=m)), max_size=20))
@settings(max_examples=25, deadline=None)
def test_statements_do_not_depend_on_how_a_span_is_cut_or_how_far_back_is_loaded(
    history: tuple[np.ndarray, np.ndarray], cuts: list[timedelta]
) -> None:
    own, others = history
    subject, everyone = sparse(own), sparse(own + others)
    found: list[Firing] = []
    for after, until in pairwise(sorted([timedelta(0), *cuts, timedelta(days=DAYS)])):
        since = bin_of(load_from(START + after, ZONE))
        recent = everyone.numbers >= since
        loaded = Sparse(everyone.numbers[recent], everyone.counts[recent])
        found += ask(subject, loaded, START + after, START + until, found)
    assert found == ask(subject, everyone, START, START + timedelta(days=DAYS))


def test_years_without_a_record_are_not_years_of_zeros() -> None:
    """An imported year, then nothing, then live traffic: its first days are judged like those of a new system."""
    rng = np.random.default_rng(7)
    old = rng.poisson(20 / BINS_PER_DAY, 60 * BINS_PER_DAY)
    live = rng.poisson(60 / BINS_PER_DAY, 3 * BINS_PER_DAY)
    begins = START + timedelta(days=4000)
    everyone = Sparse(
        np.concatenate((sparse(old).numbers, sparse(live, begins).numbers)),
        np.concatenate((sparse(old).counts, sparse(live, begins).counts)),
    )
    subject = sparse(live, begins)
    assert ask(subject, everyone, begins, begins + timedelta(days=3)) == []
    assert ask(subject, subject, begins, begins + timedelta(days=3)) == []


def test_a_gap_shorter_than_the_limit_is_silence() -> None:
    old = np.zeros(BINS_PER_DAY, dtype=np.int64)
    old[0] = 1
    later = START + UNRECORDED - BIN
    everyone = Sparse(
        np.array([bin_of(START), bin_of(later)], dtype=np.int64),
        np.array([1, 1], dtype=np.int64),
    )
    assert Record(everyone, ZONE, FAR).era(bin_of(later))[0] == bin_of(START)
    longer = Sparse(everyone.numbers + np.array([0, 2]), everyone.counts)
    assert Record(longer, ZONE, FAR).era(bin_of(later) + 2)[0] == bin_of(later) + 2


def test_a_new_subject_in_an_old_record_fires_at_its_first_burst() -> None:
    others = np.full(35 * BINS_PER_DAY, 1)
    burst = np.zeros(35 * BINS_PER_DAY, dtype=np.int64)
    burst[-BINS_PER_DAY : -BINS_PER_DAY + 3] = 5
    first = bin_start(bin_of(START) + 34 * BINS_PER_DAY)
    [firing] = ask(sparse(burst), sparse(others + burst), first, START + timedelta(days=35))
    assert firing.observed >= 5
    assert firing.window_end <= first + timedelta(minutes=30)


def test_a_complaint_that_came_while_everyones_were_read_does_no_harm() -> None:
    """Its bin is then in the subject's bins and not among everyone's."""
    own = np.zeros(60 * BINS_PER_DAY, dtype=np.int64)
    own[[0, 20 * BINS_PER_DAY, 59 * BINS_PER_DAY]] = 9
    own[5 * BINS_PER_DAY : 12 * BINS_PER_DAY] = 1
    own[25 * BINS_PER_DAY : 40 * BINS_PER_DAY] = 1
    later = sparse(np.ones(5, dtype=np.int64), START + timedelta(days=30))
    for everyone in (later, Sparse.of(())):
        found = ask(sparse(own), everyone, START, START + timedelta(days=60))
        assert all(firing.window_end > START for firing in found)
