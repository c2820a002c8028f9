"""What is kept in memory of a measure gives back what it was made of, in less room where little counts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from closedloop.kpi.blocks import Sparse, _packed

NUMBERS = st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0, 0.1, 2.0**30 + 1])


@given(st.lists(NUMBERS, max_size=40), st.data())
def test_packed_numbers_are_the_same_numbers(numbers: list[float], data: st.DataObject) -> None:
    given_numbers = np.array(numbers, dtype=np.float64)
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(numbers))))) if numbers else [], dtype=np.int64)
    packed = _packed(given_numbers)
    found = packed.of(rows, len(numbers)) if isinstance(packed, Sparse) else packed[rows]
    assert np.array_equal(found, given_numbers[rows])


def test_a_measure_that_counts_in_few_rows_takes_a_fraction_of_the_room() -> None:
    numbers = np.zeros(9_000)
    numbers[::100] = 3.0
    assert _packed(numbers).nbytes * 40 < numbers.astype(np.float32).nbytes
    assert not isinstance(_packed(np.ones(9_000)), Sparse)
