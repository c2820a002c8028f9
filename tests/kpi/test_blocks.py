"""What is kept in memory of a segment gives back what it was made of, and what it adds up is the plain sum."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.blocks import Block, Fractions, SeriesBook, Shape, Whole, find, gathered, packed, shaped
from closedloop.kpi.domain.buckets import CELL, encode
from closedloop.kpi.domain.columns import MINUTE
from closedloop.kpi.domain.cover import Calendar

NUMBERS = st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0, -2.0, 0.25, 2.0**30 + 1])
WHOLE = st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0, -2.0, 2.0**30 + 1])
SERIES = st.sampled_from([0, 1, 2, 9, 70_000])
MINUTES = st.integers(0, 60)
Bucket = tuple[int, int, float]


@given(st.one_of(st.lists(NUMBERS, max_size=40), st.lists(WHOLE, max_size=40)), st.data())
def test_packed_numbers_are_the_same_numbers(numbers: list[float], data: st.DataObject) -> None:
    given_numbers = np.array(numbers, dtype=np.float64)
    column = packed(given_numbers)
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(numbers))))) if numbers else [], dtype=np.int64)
    assert np.array_equal(column.at(rows), given_numbers[rows])
    bounds = data.draw(st.lists(st.tuples(st.integers(0, len(numbers)), st.integers(0, len(numbers))).map(sorted), max_size=5))
    sums = column.between(np.array(bounds, dtype=np.int64).reshape(-1, 2))
    assert sums.tolist() == [given_numbers[start:end].sum() for start, end in bounds]


def test_sums_of_fractions_leave_no_dust() -> None:
    column = packed(np.array([1e9 + 0.1, 0.1, 0.0, 0.2]))
    assert isinstance(column, Fractions)
    assert column.between(np.array([[1, 2], [2, 3], [2, 2]])).tolist() == [0.1, 0.0, 0.0]


def test_a_measure_that_counts_nowhere_takes_no_room() -> None:
    nothing = packed(np.zeros(9_000))
    assert nothing is packed(np.zeros(4))
    assert nothing.at(np.array([3, 8_000])).tolist() == [0.0, 0.0]
    assert nothing.between(np.array([[3, 8_000]])).tolist() == [0.0]


def test_a_measure_that_counts_in_few_rows_takes_a_fraction_of_the_room() -> None:
    numbers = np.zeros(9_000)
    numbers[::100] = 3.0
    few = packed(numbers)
    assert few.nbytes * 40 < numbers.astype(np.float32).nbytes
    few_fractions = packed(numbers / 9)
    assert isinstance(few_fractions, Fractions)
    assert few_fractions.nbytes * 40 < numbers.nbytes
    all_of_them = packed(np.ones(9_000))
    assert isinstance(all_of_them, Whole)
    assert all_of_them.rows is None
    assert all_of_them.running.dtype == np.float32


def block_of(buckets: Iterable[Bucket]) -> Block:
    """Of one measure."""
    ascending = sorted(buckets)
    base = min((minute for _, minute, _ in ascending), default=0)
    keys = np.array([(series << 16) + minute - base for series, minute, _ in ascending], dtype=np.int64)
    span = max((minute - base for _, minute, _ in ascending), default=0)
    return Block(keys, base, span, None, (packed(np.array([number for *_, number in ascending])),))


SEGMENT = {
    MINUTE: pl.Series([7, 8, 30, 30], dtype=pl.Int32),
    "region": ["NJ", "NJ", "NJ", "NJ"],
    CELL: pl.Series([None, None, None, 3], dtype=pl.Int16),
    "calls": [1.0, 1.0, 1.0, 0.0],
    "bins": [0.0, 0.0, 0.0, 1.0],
}


@pytest.mark.parametrize(("measures", "found_rows"), [(("calls",), 1), (("bins", "calls"), 4)])
def test_what_counts_is_added_up_also_where_others_on_the_topic_have_sketches(measures: tuple[str, ...], found_rows: int) -> None:
    book = SeriesBook(["region"])
    shape = Shape("orders", ("region",), "minute", measures)
    block = shaped(encode(pl.DataFrame(SEGMENT)), shape, Calendar(ZoneInfo("UTC")), book)
    parts = find([block], np.array([[0, 60]]), book.matching({}), False)
    frame = gathered(parts, book, measures, ["region"])
    assert (len(frame), frame["calls"].sum()) == (found_rows, 3.0)
    assert frame["region"].unique().to_list() == ["NJ"]


ranges_asked = st.lists(MINUTES, min_size=2, max_size=6, unique=True).map(sorted)


@given(
    st.lists(st.dictionaries(st.tuples(SERIES, MINUTES), st.one_of(NUMBERS, WHOLE), max_size=40), max_size=3),
    ranges_asked,
    st.sets(SERIES, max_size=5),
    st.booleans(),
)
def test_blocks_have_of_ranges_and_series_what_was_put_into_them(
    counted: list[dict[tuple[int, int], float]], edges: list[int], series: set[int], is_each: bool
) -> None:
    blocks = [block_of((of, minute, number) for (of, minute), number in one.items()) for one in counted]
    ranges = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=False)]
    expected: dict[tuple[int, int], float] = {}
    for one in counted:
        for (of, minute), number in one.items():
            for start, end in ranges:
                if of in series and start <= minute < end:
                    expected[of, start] = expected.get((of, start), 0.0) + number
    told: dict[tuple[int, int], float] = {}
    for part in find(blocks, np.array(ranges, dtype=np.int64), np.array(sorted(series), dtype=np.int64), is_each):
        for of, minute, number in zip(part.series.tolist(), part.minutes.tolist(), part.numbers[0].tolist(), strict=True):
            start = next(start for start, end in ranges if start <= minute < end)
            told[of, start] = told.get((of, start), 0.0) + number
            assert not is_each or any(one.get((of, minute)) == number for one in counted)
    assert told == expected
