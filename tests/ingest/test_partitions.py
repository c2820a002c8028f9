"""Many keys at once go where each alone would go."""

from hypothesis import given
from hypothesis import strategies as st

from closedloop.common.kafka.partitioner import partition_of
from closedloop.ingest.partitions import places_by_partition


def one_by_one(keys: list[bytes], partitions: int) -> list[list[int]]:
    return [[place for place, key in enumerate(keys) if partition_of(key, partitions) == one] for one in range(partitions)]


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 50))
def test_each_key_goes_where_kafkas_default_partitioner_puts_it(keys: list[bytes], partitions: int) -> None:
    assert places_by_partition(keys, partitions) == one_by_one(keys, partitions)


@given(st.integers(0, 30).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=24, max_size=60)))
def test_keys_of_one_length_do_so_too(keys: list[bytes]) -> None:
    assert places_by_partition(keys, 6) == one_by_one(keys, 6)
