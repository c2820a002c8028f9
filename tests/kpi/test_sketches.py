"""Distinct numbers and quantiles: as near as stated, and the same however events are cut, ordered, repeated or merged."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.kpi.domain.aggregates import Distinct, Quantile
from closedloop.kpi.domain.buckets import Bucketing, decode, encode, merged, rolled_up
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.distinct import MOST_RANK, REGISTERS, STANDARD_ERROR, estimates, sketched
from closedloop.kpi.domain.expressions import formula
from closedloop.kpi.domain.quantiles import ERROR, bin_of, middles, quantiles
from closedloop.kpi.domain.rolling import figures_over_windows
from kpi.events import frame


def said(ids: Sequence[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)}).select(found=sketched(pl.col("id"))).unnest("found")


def registers(ids: Sequence[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    told = said(ids)
    ranks = np.zeros(REGISTERS, dtype=np.uint8)
    np.maximum.at(ranks, told["cell"].to_numpy(), told["number"].to_numpy().astype(np.uint8))
    return ranks


def estimated(ids: Sequence[str]) -> float:
    return float(estimates(registers(ids)[None, :])[0])


def test_the_registers_of_an_id_are_the_same_everywhere_and_always() -> None:
    assert said(["C0000123", None, "", "客户"]).rows() == [(2723, 2.0), (None, None), (720, 2.0), (585, 1.0)]


@pytest.mark.parametrize("count", [0, 1, 2, 10, 100])
def test_few_are_counted_nearly_exactly(count: int) -> None:
    assert estimated([f"C{n}" for n in range(count)]) == pytest.approx(count, abs=max(1, 0.03 * count) if count > 10 else 0)


def test_the_error_is_the_stated_one_at_any_number() -> None:
    chance = np.random.default_rng(7)
    for count in (300, 3_000, 15_000):
        errors = [estimated([f"{salt}-{n}" for n in range(count)]) / count - 1 for salt in chance.integers(0, 2**40, 40)]
        # of 40 estimates the root mean square is within a third of the truth, three times in a thousand not
        assert math.sqrt(np.mean(np.square(errors))) < STANDARD_ERROR * 1.33
        assert abs(np.mean(errors)) < STANDARD_ERROR * 4 / math.sqrt(40)
    assert STANDARD_ERROR < 0.02


def drawn(chance: np.random.Generator, count: float, sketches: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The registers of so many different ids, as hashes without any pattern would make them: how many of them each register sees,
    and the greatest of so many ranks, each twice as rare as the one below."""
    seen = chance.poisson(count / REGISTERS, (sketches, REGISTERS)).astype(float)
    # P(all ranks <= r) = (1 - 2^-r)^seen
    below = chance.random((sketches, REGISTERS)) ** (1 / np.maximum(seen, 1))
    ranks = np.ceil(-np.log2(-np.expm1(np.log(below))))
    return np.where(seen == 0, 0, np.clip(ranks, 1, MOST_RANK)).astype(np.uint8)


@pytest.mark.parametrize("count", [1e5, 1e6, 1e7, 1e8, 1e9])
def test_the_error_is_the_stated_one_up_to_all_customers_of_the_largest_operator(count: float) -> None:
    errors = estimates(drawn(np.random.default_rng(11), count, 400)) / count - 1
    # of 400 estimates the root mean square is within an eighth of the truth, three times in a thousand not
    assert math.sqrt(np.mean(np.square(errors))) < STANDARD_ERROR * 1.13
    assert abs(np.mean(errors)) < STANDARD_ERROR * 4 / math.sqrt(400)


def test_a_million_ids_as_they_are_hashed_are_as_near() -> None:
    for salt in ("C", "8613", "客户"):
        assert abs(estimated([f"{salt}{n}" for n in range(1_000_000)]) / 1e6 - 1) < 4 * STANDARD_ERROR


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_ratio_of_two_distinct_numbers_is_off_by_the_error_of_both_at_most(share: float) -> None:
    chance = np.random.default_rng(5)
    count, part = 20_000, int(20_000 * share)
    errors = []
    for salt in chance.integers(0, 2**40, 60):
        ids = [f"{salt}-{n}" for n in range(count)]
        errors.append(estimated(ids[:part]) / estimated(ids) / share - 1)
    assert math.sqrt(np.mean(np.square(errors))) < STANDARD_ERROR * math.sqrt(2) * 1.3


def test_a_full_sketch_and_an_empty_one_are_numbers() -> None:
    assert estimates(np.zeros((1, REGISTERS), dtype=np.uint8)).tolist() == [0]
    assert np.isfinite(estimates(np.full((1, REGISTERS), 52, dtype=np.uint8)))[0]


ids = st.lists(st.integers(0, 400).map(lambda n: f"C{n}"), max_size=300)


@given(ids, ids, ids)
def test_unions_of_registers_merge_in_any_way(a: list[str], b: list[str], c: list[str]) -> None:
    x, y, z = registers(a), registers(b), registers(c)
    assert np.array_equal(np.maximum(np.maximum(x, y), z), np.maximum(x, np.maximum(z, y)))
    assert np.array_equal(np.maximum(x, x), x)
    assert np.array_equal(np.maximum(x, y), registers([*b, *a, *a]))


numbers = st.one_of(st.floats(-1e12, 1e12, allow_nan=False), st.floats(0, 1e-6), st.integers(-5, 100_000).map(float))


@given(st.lists(numbers, min_size=1, max_size=200), st.sampled_from([0.001, 0.05, 0.5, 0.9, 0.95, 0.999]))
def test_a_quantile_is_within_its_error_of_the_quantity_at_its_rank(found: list[float], q: float) -> None:
    bins, counts = np.unique(
        pl.select(bin_of(pl.lit(pl.Series(found, dtype=pl.Float64)))).to_series().to_numpy(), return_counts=True
    )
    told = quantiles(q, bins, counts[:, None].astype(float))[0]
    true = sorted(found)[math.floor(q * (len(found) - 1) + 1e-9)]
    assert abs(told - true) <= ERROR * abs(true) * (1 + 1e-9) + 1e-9


@given(st.lists(numbers, min_size=2, max_size=50))
def test_bins_ascend_with_their_quantities(found: list[float]) -> None:
    bins = pl.select(bin_of(pl.lit(pl.Series(sorted(found), dtype=pl.Float64)))).to_series()
    assert bins.is_sorted()
    assert np.all(np.diff(middles(bins.unique().sort().to_numpy())) > 0)


def test_a_quantile_of_nothing_is_none() -> None:
    assert np.isnan(quantiles(0.5, np.array([], dtype=np.int16), np.zeros((0, 2)))).all()
    assert np.isnan(quantiles(0.5, np.array([3], dtype=np.int16), np.array([[0.0]])))[0]


COMMON: dict[str, Any] = {
    "name_en": "x",
    "name_zh": "x",
    "phase": "ex_post",
    "indicator_class": "operating",
    "better": "lower",
    "owner": "x",
    "collection": "events",
    "granularity": "minute",
    "topic": "orders",
    "dimensions": ("region",),
    "filter": formula("type = 'order.status_changed.v1'", "orders", "condition"),
}
ONE = formula("1", "orders", "quantity")
DISTINCT = Distinct("orders", "customer_id")
FAILED = Distinct("orders", "customer_id", formula("status = 'failed'", "orders", "condition"))
PER_CUSTOMER = EventIndicator(id="per_customer", unit="orders", numerator=ONE, denominator=DISTINCT, **COMMON)
WITH_FAILURE = EventIndicator(id="with_failure", unit="percent", numerator=FAILED, denominator=DISTINCT, **COMMON)
SLOW = EventIndicator(id="slow", unit="s", numerator=Quantile("orders", 0.9, formula("duration_s", "orders", "quantity")), **COMMON)
MIDDLE = EventIndicator(
    id="middle", unit="s", numerator=Quantile("orders", 0.5, formula("duration_s", "orders", "quantity")), **COMMON
)
CATALOGUE = Catalogue([PER_CUSTOMER, WITH_FAILURE, SLOW, MIDDLE])
ORDERS = Bucketing.of(CATALOGUE, "orders")
Order = tuple[int, int, float | None, bool, str]
orders = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.integers(0, 60),
        st.one_of(st.none(), st.floats(0, 1e5)),
        st.booleans(),
        st.sampled_from(["NJ", "SZ"]),
    ),
    max_size=80,
)


def folded(events: Sequence[Order]) -> pl.DataFrame:
    rows = [
        {
            "type": "order.status_changed.v1",
            "customer_id": f"C{who}",
            "region": where,
            "duration_s": took,
            "status": "failed" if failed else "completed",
        }
        for _, who, took, failed, where in events
    ]
    minutes = pl.Series(MINUTE, [minute for minute, *_ in events], dtype=pl.Int32)
    return ORDERS.fold(frame("orders", *rows).with_columns(minutes))


@settings(max_examples=25)
@given(orders, st.integers(1, 5), st.randoms(use_true_random=False))
def test_figures_are_the_same_however_events_were_cut_merged_and_rolled_up(events: list[Order], cuts: int, chance: Any) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    parts = [decode(encode(folded(shuffled[n::cuts]))) for n in range(cuts)]
    together = merged([merged(parts[: cuts // 2 + 1]), *parts[cuts // 2 + 1 :]])
    hours = rolled_up([together], lambda minutes: minutes // 60 * 60)
    days = rolled_up([hours, hours.clear()], lambda minutes: minutes // 1440 * 1440)
    whole = folded(events)
    for indicator in CATALOGUE.from_events:
        for keys in ((), ("region",)):
            plain = figures_over_windows([whole], keys, [(0, 1440)], indicator.parts)
            for other in (together, hours, days):
                assert figures_over_windows([other], keys, [(0, 1440)], indicator.parts).equals(plain)


@settings(max_examples=20)
@given(orders)
def test_windows_that_slide_tell_what_each_tells_alone(events: list[Order]) -> None:
    windows = [(start, start + length) for start in range(0, 300, 97) for length in (1, 60, 100, 301)]
    buckets = folded(events)
    for indicator in CATALOGUE.from_events:
        sliding = figures_over_windows([buckets], (), windows, indicator.parts).drop("window")
        alone = [figures_over_windows([buckets], (), [window], indicator.parts).drop("window") for window in windows]
        assert sliding.equals(pl.concat(alone))


@settings(max_examples=40)
@given(orders)
def test_figures_are_those_of_a_plain_count(events: list[Order]) -> None:
    buckets = folded(events)

    def figures(indicator: EventIndicator) -> dict[str, Any]:
        return figures_over_windows([buckets], (), [(0, 1440)], indicator.parts).row(0, named=True)

    customers = {who for _, who, *_ in events}
    failing = {who for _, who, _, failed, _ in events if failed}
    per_customer = figures(PER_CUSTOMER)
    assert per_customer["numerator"] == per_customer["sample"] == len(events)
    assert abs(per_customer["denominator"] - len(customers)) <= 1 + 0.05 * len(customers)
    assert abs(figures(WITH_FAILURE)["numerator"] - len(failing)) <= 1 + 0.05 * len(failing)
    known = sorted(took for _, _, took, _, _ in events if took is not None)
    slow = figures(SLOW)
    assert slow["sample"] == len(known)
    if known:
        true = known[math.floor(0.9 * (len(known) - 1) + 1e-9)]
        assert slow["numerator"] == pytest.approx(true, rel=ERROR * (1 + 1e-9), abs=1e-9)
    else:
        assert slow["numerator"] is None


def test_two_quantiles_of_one_quantity_share_their_bins() -> None:
    assert SLOW.numerator_measure == MIDDLE.numerator_measure
    assert SLOW.numerator_measure.quantile != MIDDLE.numerator_measure.quantile
    assert len(ORDERS.measures) == 7
