"""What reported figures say about a window: flows, levels, the whole and its parts."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.domain.reported import NOTHING, Answer, Known, apart
from kpi.test_reporting import indicator

RATIO = indicator(unit="percent", better="higher", target=90, warning=80)
COUNT = indicator(reported={"by": "BOSS", "numerator": "customers"})
LEVEL = indicator(reported={"by": "BOSS", "numerator": "customers", "level": True})
VALUE = indicator(reported={"by": "scanner"})
MONTH = 30 * 1440


def known(
    month: int, numerator: float | None = None, denominator: float | None = None, value: float | None = None, **codes: str
) -> Known:
    return Known(month * MONTH, (month + 1) * MONTH, codes, numerator, denominator, value)


def test_a_flow_adds_the_periods_that_lie_whole_in_the_window() -> None:
    answer = Answer(RATIO, [known(0, 1, 4), known(1, 3, 4), known(2, 0, 0)])
    assert answer.over(0, 2 * MONTH).value == 50.0
    assert answer.over(1, 2 * MONTH).value == 75.0
    assert answer.over(0, 2 * MONTH - 1).value == 25.0
    assert answer.over(2 * MONTH, 3 * MONTH).value is None
    assert answer.over(1, MONTH) == NOTHING


def test_values_alone_have_the_same_weight_and_that_is_said() -> None:
    answer = Answer(VALUE, [known(0, value=1.0), known(1, value=4.0)])
    both = answer.over(0, 2 * MONTH)
    assert (both.value, both.sample) == (2.5, 2)
    assert both.note == "the mean of 2 reported values, each with the same weight"
    assert answer.over(0, MONTH).note is None


def test_a_level_is_the_last_one_known_before_the_windows_end() -> None:
    answer = Answer(LEVEL, [known(0, 100), known(3, 130)])
    assert [answer.over(0, end * MONTH).value for end in (0, 1, 3, 4, 99)] == [None, 100, 100, 130, 130]
    assert answer.over(3 * MONTH, 3 * MONTH + 1).value == 130


def test_a_level_of_one_region_goes_on_while_another_was_reported_later() -> None:
    answer = Answer(LEVEL, [known(0, 100, region="NJ"), known(0, 50, region="SZ"), known(1, 110, region="NJ")])
    assert answer.over(0, 2 * MONTH).value == 160


def test_the_whole_stands_before_its_parts_and_parts_fill_what_is_left_out() -> None:
    whole, nj, sz = known(0, 100), known(0, 60, region="NJ"), known(0, 30, region="SZ")
    web = known(0, 20, region="WX", channel="web")
    assert Answer(COUNT, [nj, whole, sz]).over(0, MONTH).value == 100
    assert Answer(COUNT, [nj, sz, web]).over(0, MONTH).value == 110
    assert Answer(COUNT, [nj, known(0, 10, region="NJ", channel="web")]).over(0, MONTH).value == 60


def test_what_does_not_fit_the_entry_any_more_is_left_out() -> None:
    # the entry asked for a value before it asked for numerator and denominator
    assert Answer(RATIO, [known(0, value=3.0), known(1, 1, 2)]).over(0, 2 * MONTH).sample == 1


def test_a_dimension_that_the_entry_no_longer_has_still_tells_figures_apart() -> None:
    figures = [known(0, 1, region="NJ", product="mobile"), known(0, 2, region="NJ", product="broadband")]
    assert Answer(COUNT, figures).over(0, MONTH).value == 3


CODES: dict[str, list[str]] = {"region": ["NJ", "SZ"], "customer_class": ["gold", "silver"], "channel": ["web", "app"]}
dimensions = st.fixed_dictionaries({}, optional={name: st.sampled_from(codes) for name, codes in CODES.items()})


def customers(codes: Mapping[str, str]) -> set[tuple[str, ...]]:
    """The kinds of customers that a figure is of: every full set of codes that it does not rule out."""
    everybody = [(r, k, c) for r in CODES["region"] for k in CODES["customer_class"] for c in CODES["channel"]]
    return {kind for kind in everybody if all(codes.get(name, code) == code for name, code in zip(CODES, kind, strict=True))}


@given(st.lists(dimensions, max_size=12, unique_by=lambda codes: tuple(sorted(codes.items()))))
def test_nobody_is_counted_twice_and_nobody_who_could_be_counted_is_left_out(reported: list[dict[str, Any]]) -> None:
    figures = [known(0, 1.0, **codes) for codes in reported]
    chosen = apart(figures)
    covered: set[tuple[str, ...]] = set()
    for figure in chosen:
        assert not covered & customers(figure.dimensions)
        covered |= customers(figure.dimensions)
    for figure in figures:
        assert figure in chosen or covered & customers(figure.dimensions)
    assert len({id(figure) for figure in chosen}) == len(chosen)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 50), st.integers(1, 50)), max_size=9, unique_by=lambda one: one[0]),
    st.integers(0, 9 * MONTH),
    st.integers(0, 9 * MONTH),
)
def test_a_flow_equals_a_plain_recount(months: list[tuple[int, int, int]], one: int, other: int) -> None:
    start, end = sorted((one, other))
    inside = [(a, b) for month, a, b in months if start <= month * MONTH and (month + 1) * MONTH <= end]
    found = Answer(RATIO, [known(month, a, b) for month, a, b in months]).over(start, end)
    assert found.sample == len(inside)
    expected = 100 * sum(a for a, _ in inside) / sum(b for _, b in inside) if inside else None
    assert found.value == (None if expected is None else pytest.approx(expected))
