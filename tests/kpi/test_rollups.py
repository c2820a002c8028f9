"""Whatever was counted late, compacted or rolled up, values and series equal a plain recomputation from the events."""

import asyncio
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import xxhash

from closedloop.common.postgres.pool import Pool
from closedloop.kpi.catalogue_files import load_catalogue
from closedloop.kpi.compaction import Compaction
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator
from closedloop.kpi.domain.cover import Calendar
from closedloop.kpi.domain.distinct import REGISTERS, estimates
from closedloop.kpi.domain.windows import Window, minute_of, time_of, window_start
from closedloop.kpi.event_values import EventValues
from closedloop.kpi.reading import BucketReader
from closedloop.kpi.rollup import RollUp
from kpi.counting import MEGABYTE, ZONE, Engine
from kpi.records import batch, encoded, envelope, rating, record

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BEGAN = TODAY - timedelta(days=45)
OWN = """
indicators:
  - {id: raters, name_en: Raters, name_zh: 评价客户数, process: x, phase: ex_post, class: perception, unit: x, better: lower,
     owner: x, topic: evaluations, filter: 'true', numerator: {distinct: customer_id, where: dissatisfied},
     denominator: {distinct: customer_id}, dimensions: [region, channel]}
  - {id: median_score, name_en: Median, name_zh: 中位数, process: x, phase: ex_post, class: perception, unit: x, better: lower,
     owner: x, topic: evaluations, filter: 'true', numerator: {quantile: 0.5, of: score}, dimensions: [region, channel]}
"""
KOLKATA = ZoneInfo("Asia/Kolkata")


class Rated(NamedTuple):
    minute: int
    region: str
    channel: str | None
    customer: str
    score: int


class World:
    """Events that come in batches, some late and some twice, beside jobs that work on what was counted."""

    def __init__(self, pool: Pool, catalogue: Catalogue, seed: int) -> None:
        self.engine = Engine(pool, catalogue)
        self.chance = random.Random(seed)
        self.rated: list[Rated] = []
        self._sent: list[bytes] = []
        self._offset = 0

    async def count(self, events: int, days: int = 45) -> None:
        """A batch over the first days; every tenth event of it came before."""
        values = []
        for _ in range(events):
            if self._sent and self.chance.random() < 0.1:
                values.append(self.chance.choice(self._sent))
                continue
            at = BEGAN + timedelta(minutes=self.chance.randrange(days * 1440))
            rated = Rated(
                minute_of(at),
                self.chance.choice(["NJ", "SZ", "WX"]),
                self.chance.choice(["web", "app", None]),
                f"C{self.chance.randrange(60)}",
                self.chance.randrange(1, 11),
            )
            data = rating(region=rated.region, channel=rated.channel, customer_id=rated.customer, score=rated.score)
            if rated.channel is None:
                del data["channel"]
            values.append(encoded(envelope(data, id=f"e-{len(self.rated)}", time=at.isoformat())))
            self.rated.append(rated)
            self._sent.append(values[-1])
        records = [record(value, offset=self._offset + n, appended=TODAY) for n, value in enumerate(values)]
        self._offset += len(records)
        await self.engine.take(batch(records))

    async def compact(self) -> None:
        await Compaction(self.engine.pool, timedelta(days=400)).compact()

    async def roll_up(self, zone: ZoneInfo = ZONE) -> None:
        await RollUp(self.engine.pool, Calendar(zone)).roll_up()

    def expected(
        self, indicator: str, start: int, end: int, filters: Mapping[str, Sequence[str | None]]
    ) -> tuple[float | None, float | None, int]:
        """(numerator, denominator, sample) of the plain events."""
        among = [
            event
            for event in self.rated
            if start <= event.minute < end and all(getattr(event, name) in values for name, values in filters.items())
        ]
        bad = [event for event in among if (event.score - 1) / 9 < 0.5]
        if indicator == "dissatisfied_share":
            return len(bad), len(among), len(among)
        if indicator == "raters":
            return _estimate(event.customer for event in bad), _estimate(event.customer for event in among), len(among)
        scores = sorted(event.score for event in among)
        return (scores[math.floor((len(scores) - 1) / 2 + 1e-9)] if scores else 0), None, len(among)

    async def check(self, zone: ZoneInfo, asked: int = 6) -> None:
        """Some random values and series of each indicator against the plain events."""
        reader = BucketReader(self.engine.pool, self.engine.catalogue, MEGABYTE, zone)
        for reads in (reader, self.engine.reader):
            values = EventValues(reads, self.engine.catalogue, zone)
            for indicator in ("dissatisfied_share", "raters", "median_score"):
                for _ in range(asked):
                    await self._check_series(values, _counted(self.engine.catalogue, indicator), zone)

    async def _check_series(self, values: EventValues, indicator: EventIndicator, zone: ZoneInfo) -> None:
        chance = self.chance
        window: Window = chance.choice(["1h", "24h", "7d", "30d", "month"])
        filters: dict[str, list[str]] = chance.choice([{}, {"region": ["NJ"]}, {"region": ["SZ", "WX"], "channel": ["web"]}])
        step = chance.choice([60, 24 * 60, 7 * 24 * 60, 100])
        midnight = minute_of(BEGAN.astimezone(zone).replace(hour=0))
        first = midnight + chance.choice([0, 60, chance.randrange(1440)]) + 1440 * chance.randrange(50)
        ends = [first + n * step for n in range(chance.randrange(1, 5))]
        group_by: Sequence[str] = chance.choice([(), ("channel",)])
        found = await values.series(indicator, window, ends, group_by, filters)
        assert len(found) % len(ends) == 0
        for value in found:
            assert value.start == window_start(window, value.end, zone)
            narrowed = filters | {name: [said] for name, said in value.group.items()}
            expected = self.expected(indicator.id, value.start, value.end, narrowed)
            where = (indicator.id, window, time_of(value.end), narrowed)
            assert value.sample == expected[2], where
            # a median may be 1 % away
            assert value.numerator == pytest.approx(expected[0], rel=0.0101 if indicator.id == "median_score" else 0), where
            assert value.denominator == expected[1], where
        if not group_by:
            assert [value.end for value in found] == ends


def _estimate(customers: Iterable[str]) -> float:
    """What one sketch of all of them tells; how near that is to the truth is for test_sketches to say."""
    ranks = np.zeros(REGISTERS, dtype=np.uint8)
    for customer in customers:
        hashed = xxhash.xxh3_64_intdigest(customer.encode())
        register, rest = divmod(hashed, 1 << 52)
        ranks[register] = max(ranks[register], 53 - rest.bit_length())
    return float(estimates(ranks[None, :])[0])


def _counted(catalogue: Catalogue, indicator_id: str) -> EventIndicator:
    indicator = catalogue.counted(indicator_id)
    assert indicator is not None
    return indicator


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "own.yaml").write_text(OWN, "utf-8")
    return load_catalogue(tmp_path)


@pytest.mark.parametrize(("seed", "zone"), [(1, ZONE), (2, KOLKATA), (3, ZoneInfo("Europe/Berlin"))])
async def test_values_equal_a_plain_count_whatever_was_late_compacted_or_rolled_up(
    engine: Engine, catalogue: Catalogue, seed: int, zone: ZoneInfo
) -> None:
    world = World(engine.pool, catalogue, seed)
    await world.count(300)
    for _ in range(6):
        for _ in range(world.chance.randrange(1, 4)):
            work = world.chance.choice(["count", "late", "compact", "roll", "roll"])
            if work == "count":
                await world.count(40)
            elif work == "late":
                await world.count(10, days=3)
            elif work == "compact":
                await world.compact()
            else:
                await world.roll_up(zone)
        await world.check(zone, 2)
    await world.roll_up(zone)
    await world.compact()
    await world.check(zone)


async def test_another_zone_has_its_roll_ups_made_anew(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 5)
    await world.count(200)
    await world.roll_up(ZONE)
    await world.check(KOLKATA, 2)  # nobody has rolled up for it yet
    before = await engine.pool.fetchval("SELECT max(id) FROM segment")
    await world.roll_up(KOLKATA)
    assert await engine.pool.fetchval("SELECT min(id) FROM segment WHERE kind IN ('hour', 'day')") > before
    assert await engine.pool.fetchval("SELECT count(*) FROM segment WHERE kind IN ('bucket', 'hour') AND NOT rolled") == 0
    await world.check(KOLKATA, 2)
    await world.check(ZONE, 2)


async def test_today_is_not_rolled_up_and_stands_in_values_all_the_same(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 6)
    await world.count(50)
    now = TODAY + timedelta(minutes=1)
    event = encoded(envelope(rating(score=1), id="now", time=now.isoformat()))
    await world.engine.take(batch([record(event, offset=10**6, appended=now)]))
    await world.roll_up()
    today = (TODAY - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert await engine.pool.fetchval("SELECT array_agg(DISTINCT kind ORDER BY kind) FROM segment WHERE day = $1", today) == [
        "bucket",
        "seen",
    ]
    values = EventValues(engine.reader, catalogue, ZONE)
    share = _counted(catalogue, "dissatisfied_share")
    everything = await values.series(share, "30d", [minute_of(now + timedelta(minutes=1))], (), {})
    among = [e for e in world.rated if everything[0].start <= e.minute]
    assert everything[0].sample == len(among) + 1


async def test_processes_that_roll_up_and_merge_at_once_lose_nothing(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 7)

    async def keep(work: Any) -> None:
        while not done.is_set():
            await work()
            await asyncio.sleep(0)

    done = asyncio.Event()
    works = [Compaction(engine.pool, timedelta(days=400)).compact] * 2 + [RollUp(engine.pool, Calendar(ZONE)).roll_up] * 2
    tasks = [asyncio.create_task(keep(work)) for work in works]
    for _ in range(12):
        await world.count(60, days=4)
        await world.check(ZONE, 1)
    done.set()
    await asyncio.gather(*tasks)
    await world.check(ZONE)


async def test_a_year_is_read_from_few_rows(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 8)
    await world.count(800, days=40)
    share = _counted(catalogue, "dissatisfied_share")
    window = (minute_of(BEGAN) - 8 * 60, minute_of(BEGAN) + 42 * 1440 - 8 * 60)

    async def rows() -> int:
        world.engine.reader.cache.clear()
        await world.engine.reader.figures("evaluations", share.parts, ("region",), [window])
        return sum(len(block.keys) for block in world.engine.reader.cache._kept.values())

    before = await rows()
    await world.roll_up()
    assert await rows() <= 42 * 3 + 3 * 3 < before
    kinds = {shape.grain for _, shape in world.engine.reader.cache._kept}
    assert kinds == {"day"}


async def test_only_the_measures_that_are_asked_for_are_kept(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 9)
    await world.count(50)
    values = EventValues(world.engine.reader, catalogue, ZONE)
    await values.value(_counted(catalogue, "sms_ratings"), "30d", minute_of(TODAY), {})
    assert {shape.measures for _, shape in world.engine.reader.cache._kept} == {
        (_counted(catalogue, "sms_ratings").sample_measure.name,)
    }


async def test_beyond_the_retention_roll_ups_go_with_their_buckets(engine: Engine, catalogue: Catalogue) -> None:
    world = World(engine.pool, catalogue, 10)
    await world.count(100)
    await world.roll_up()
    await Compaction(engine.pool, timedelta(days=1)).forget()  # and 36 days more, in which records may be replayed
    kept = await engine.pool.fetch("SELECT kind, min(day) AS first FROM segment WHERE kind <> 'seen' GROUP BY kind")
    oldest = {row["kind"]: row["first"] for row in kept}
    cutoff = (TODAY - datetime(1970, 1, 1, tzinfo=UTC)).days - 37
    assert all(first >= cutoff - cutoff % 32 for first in oldest.values())
    start = oldest["day"] * 1440
    values = EventValues(world.engine.reader, catalogue, ZONE)
    end = minute_of(TODAY)
    (value,) = await values.series(_counted(catalogue, "dissatisfied_share"), "30d", [end], (), {})
    assert value.sample == len([e for e in world.rated if max(start, value.start) <= e.minute < end])
