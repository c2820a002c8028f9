"""Many keys at once go where each alone would go."""

from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.kafka.partitioner import partition_of
from closedloop.ingest.partitions import partitions_of


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 50))
def test_each_key_goes_where_kafkas_default_partitioner_puts_it(keys: list[bytes], partitions: int) -> None:
    assert partitions_of(keys, partitions) == [partition_of(key, partitions) for key in keys]


@given(st.integers(0, 30).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=8, max_size=60)))
def test_keys_of_one_length_do_so_too(keys: list[bytes]) -> None:
    assert partitions_of(keys, 6) == [partition_of(key, 6) for key in keys]
