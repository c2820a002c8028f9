"""Buckets add up to the events, whether events share them or not, and however they are cut into segments."""

import random
from datetime import timedelta

import polars as pl
import pytest

from closedloop.kpi.domain import buckets
from closedloop.kpi.domain.buckets import Bucketing, by_day, decode, encode, merged
from closedloop.kpi.domain.columns import COLUMNS, MINUTE
from kpi.events import EVENING, frame
from kpi.shipped import SHIPPED

ORDERS = Bucketing.of(SHIPPED, "orders")
STATUSES = ["completed", "failed", "submitted"]


def orders(count: int, regions: int) -> pl.DataFrame:
    chance = random.Random(3)
    return frame(
        "orders",
        *(
            {
                "at": EVENING + timedelta(minutes=chance.randrange(3000)),
                "type": "order.status_changed.v1",
                "region": f"R{chance.randrange(regions)}",
                "order_type": chance.choice(["resumption", "top_up"]),
                "status": chance.choice(STATUSES),
                "duration_s": float(chance.randrange(900)),
                "channel": chance.choice(["web", None]),
            }
            for _ in range(count)
        ),
    )


def summed(folded: pl.DataFrame) -> dict[str, float]:
    return folded.select(pl.col(pl.Float64).sum()).row(0, named=True)


@pytest.mark.parametrize(("regions", "grouped"), [(1, True), (100_000, False)])
def test_events_are_grouped_only_where_they_share_buckets(regions: int, grouped: bool) -> None:
    events = orders(9000, regions)
    folded = ORDERS.fold(events)
    sums = folded.filter(pl.col(buckets.CELL).is_null())
    different = sums.select(MINUTE, *ORDERS.dimensions).n_unique()
    assert not grouped or len(sums) == different
    assert len(sums) <= len(events)
    plain = {measure.name: events.select(measure.expression.sum()).item() for measure in ORDERS.measures if not measure.is_sketch}
    assert {name: number for name, number in summed(folded).items() if name in plain} == pytest.approx(plain)


def test_few_events_for_many_buckets_are_not_grouped() -> None:
    keys = (MINUTE, *ORDERS.dimensions)
    assert buckets._mostly_apart(orders(4000, 100_000), keys)
    assert not buckets._mostly_apart(orders(4000, 2).with_columns(minute=pl.lit(1)), keys)
    assert not buckets._mostly_apart(orders(100, 100_000), keys)


def test_what_counts_for_nothing_has_no_bucket() -> None:
    event = {"type": "order.status_changed.v1", "region": "NJ", "order_type": "resumption", "status": "in_progress"}
    assert ORDERS.fold(frame("orders", event)).is_empty()


def test_days_are_cut_at_midnight_in_utc() -> None:
    folded = ORDERS.fold(orders(3000, 3))
    days = dict(by_day(folded))
    assert list(days) == sorted(days)
    assert all((part[MINUTE] // 1440 == day).all() for day, part in days.items())
    assert pl.concat(days.values()).equals(folded)


def test_stored_segments_add_up_in_any_order_even_where_an_older_one_knows_less() -> None:
    parts = [ORDERS.fold(orders(500, 3)), ORDERS.fold(orders(3000, 5))]
    older = parts[0].drop("channel", parts[0].columns[-1])
    stored = [decode(encode(part)) for part in (older, parts[1])]
    together = merged(reversed(stored))
    assert together[MINUTE].is_sorted()
    name = parts[1].columns[-1]
    assert together[name].sum() == pytest.approx(parts[1][name].sum())
    other = parts[0].columns[-2]
    assert together[other].sum() == pytest.approx(sum(float(part[other].sum()) for part in parts))


def test_single_columns_are_read_where_the_segment_has_them() -> None:
    folded = ORDERS.fold(orders(10, 3))
    assert decode(encode(folded), [MINUTE, "region", "unknown"]).columns == [MINUTE, "region"]


@pytest.mark.parametrize("topic", sorted({indicator.topic for indicator in SHIPPED.from_events}))
def test_events_of_every_topic_fold_from_the_columns_that_are_read(topic: str) -> None:
    raw = buckets.needed_columns(SHIPPED, topic)
    empty = pl.DataFrame(schema={name: COLUMNS[topic][name] for name in sorted(raw)} | {MINUTE: pl.Int32})
    assert Bucketing.of(SHIPPED, topic).fold(empty).is_empty()
