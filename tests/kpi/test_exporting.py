"""Which series Prometheus sees where there are more than the bound."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.domain.exporting import LEVELS, Row, merged, within

INDICATORS = ("order_failure_rate", "top_up_success_rate", "dissatisfied_share")
GROUPS = ((), (("region", "NJ"),), (("region", "SZ"),), (("region", "WX"),), (("channel", "web"), ("region", "NJ")))
FIGURES = st.fixed_dictionaries(
    {"numerator": st.integers(0, 9), "sample": st.integers(0, 9)},
    optional={"value": st.floats(0, 100), "denominator": st.integers(1, 9), "state": st.sampled_from(sorted(LEVELS.values()))},
)
ROWS = st.dictionaries(st.tuples(st.sampled_from(INDICATORS), st.sampled_from(GROUPS)), FIGURES).map(
    lambda found: [Row(indicator, group, figures) for (indicator, group), figures in found.items()]
)


def row(group: tuple[tuple[str, str], ...], sample: int, indicator: str = "order_failure_rate", state: int = 0) -> Row:
    return Row(indicator, group, {"sample": sample, "state": state})


@given(ROWS, st.integers(0, 80))
def test_the_bound_holds_and_every_series_is_shown_or_said_to_be_left_out(rows: list[Row], most: int) -> None:
    shown, left_out = within(rows, most)
    series = sum(len(row.figures) for row in shown)
    assert series <= most
    assert series + left_out == sum(len(row.figures) for row in rows)
    assert left_out == 0 or series + max(len(row.figures) for row in rows) > most, "no room is left unused"


@given(ROWS, st.integers(0, 80))
def test_at_most_one_combination_is_shown_in_part(rows: list[Row], most: int) -> None:
    shown, _ = within(rows, most)
    seen = {row.group for row in shown}
    assert len({row.group for row in rows if row.group in seen and row not in shown}) <= 1


@given(ROWS, st.integers(0, 80), st.randoms(use_true_random=False))
def test_what_is_shown_does_not_depend_on_the_order_in_which_it_comes(rows: list[Row], most: int, random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert within(shuffled, most) == within(rows, most)


def test_the_whole_comes_first_then_what_stands_badly_then_what_has_most_events() -> None:
    whole, large, small, warned = (
        row((), 3),
        row((("region", "NJ"),), 900),
        row((("region", "SZ"),), 20),
        row((("region", "WX"),), 1, state=2),
    )
    rows = [small, large, warned, whole]
    assert within(rows, 6) == ([whole, warned, large], 2)
    assert within(rows, 4) == ([whole, warned], 4)
    assert within(rows, 8) == ([whole, warned, large, small], 0)


def test_a_regions_indicators_stand_together() -> None:
    nanjing, suzhou = (("region", "NJ"),), (("region", "SZ"),)
    busy, rare = row(nanjing, 100), row(nanjing, 1, "dissatisfied_share")
    other = row(suzhou, 50)
    assert within([other, rare, busy], 4)[0] == [rare, busy]


def test_a_series_value_and_its_state_are_one_row() -> None:
    group = (("region", "NJ"),)
    rows = [Row("order_failure_rate", group, {"sample": 4}), Row("order_failure_rate", group, {"state": 3})]
    assert merged(rows) == [Row("order_failure_rate", group, {"sample": 4, "state": 3})]
