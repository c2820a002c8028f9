"""Where Kafka's default partitioner puts a key; the same in Java, aiokafka and (as `murmur2_random`) librdkafka."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`."""
    return (int(murmur2(key)) & 0x7FFFFFFF) % partitions
