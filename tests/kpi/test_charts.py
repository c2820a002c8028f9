"""A control chart over REST, on a real PostgreSQL: centre line, limits and signals as they were judged."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest

from closedloop.common.postgres.pool import create_pool
from closedloop.kpi.catalogue_files import catalogue_of
from closedloop.kpi.domain.catalogue import Catalogue
from kpi.counting import Engine
from kpi.desk import Desk, desk_over
from kpi.records import APPENDED

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = APPENDED.astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
ENTRY: dict[str, Any] = {
    "id": "low_scores",
    "name_en": "Low scores <x>",
    "name_zh": "低分占比",
    "process": "hotline",
    "phase": "ex_post",
    "class": "perception",
    "unit": "percent",
    "better": "lower",
    "owner": "hotline",
    "topic": "evaluations",
    "filter": "score IS NOT NULL",
    "numerator": "score <= 2",
    "denominator": 1,
    "dimensions": ["region", "channel"],
    "control": {"chart": "p", "period": "day", "baseline": 8, "by": ["region"]},
}
WHOLE = ENTRY | {"id": "low_scores_of_all", "control": {"chart": "p", "period": "day", "baseline": 8}}
PLAIN = {name: said for name, said in ENTRY.items() if name != "control"} | {"id": "low_scores_plain"}
PATH = "/v1/indicators/low_scores/chart"
UNTIL = {"to": TODAY.isoformat()}


def catalogue() -> Catalogue:
    return catalogue_of([("own.yaml:1", entry) for entry in (ENTRY, WHOLE, PLAIN)])


@pytest.fixture
async def desk(kpi_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    pool = await create_pool(kpi_url, "kpi")
    async with desk_over(Engine(pool, catalogue()), tmp_path) as desk:
        # ten days of 1 in 10; yesterday 8 in 10
        for day in range(1, 11):
            low = 8 if day == 1 else 1
            at = TODAY - timedelta(days=day, hours=-12)
            await desk.rate(*((at, {"region": "NJ", "score": 1 if n < low else 9}) for n in range(10)))
        yield desk
    await pool.close()


async def test_each_period_stands_between_centre_line_and_limits_and_one_signals(desk: Desk) -> None:
    found = await desk.get(PATH, region="NJ", query=UNTIL | {"from": (TODAY - timedelta(days=2)).isoformat()})
    assert (found["dimensions"], found["control"]["chart"], found["unit"]) == ({"region": "NJ"}, "p", "percent")
    before, signal = found["points"]
    assert (before["value"], before["rule"], before["numerator"], before["denominator"], before["sample"]) == (10, None, 1, 10, 10)
    assert before["centre"] == pytest.approx(10)
    assert before["lower"] == 0  # no share is less
    assert before["upper"] == pytest.approx(100 * (0.1 + 3 * (0.1 * 0.9 / 10) ** 0.5))
    assert (signal["value"], signal["rule"]) == (80, "beyond_limit")
    assert datetime.fromisoformat(signal["begin"]) == TODAY - timedelta(days=1)
    assert datetime.fromisoformat(signal["end"]) == TODAY


async def test_where_too_little_is_known_there_are_no_limits(desk: Desk) -> None:
    points = (await desk.get(PATH, region="NJ", query=UNTIL))["points"]
    assert len(points) == 60
    # half of the baseline is 4, and it takes 8 periods at least
    assert [point["centre"] is not None for point in points[-3:]] == [False, True, True]
    assert [point["value"] for point in points[-11:]] == [None, *[10.0] * 9, 80.0]


async def test_it_is_drawn_too(desk: Desk) -> None:
    drawn = await desk.text(f"{PATH}?region=NJ&format=svg&to={TODAY.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    picture = ElementTree.fromstring(drawn)  # noqa: S314 (our own)
    assert picture.get("aria-label") == "control chart of Low scores <x>: 60 periods, 1 signal"
    assert "Low scores &lt;x&gt; (percent)" in drawn
    [title] = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}title") if "beyond_limit" in (one.text or "")]
    assert title == f"{TODAY - timedelta(days=1):%Y-%m-%d} 00:00: 80, beyond_limit"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (PATH, 422, "region: name one"),
        (f"{PATH}?region=NJ&region=SZ", 422, "region: name one"),
        (f"{PATH}?region=NJ&channel=web", 422, "channel: the chart is by region"),
        (f"{PATH}?region=NJ&chanel=web", 422, "is no dimension of low_scores"),
        (f"{PATH}?region=NJ&from=2020-01-01T00:00:00Z", 422, "at most 1,000 periods"),
        ("/v1/indicators/low_scores_plain/chart", 404, "has no control chart"),
    ],
)
async def test_a_mistake_is_named(desk: Desk, path: str, status: int, said: str) -> None:
    assert said in (await desk.get(path, status))["detail"]


async def test_a_token_sees_the_charts_of_its_own_regions(desk: Desk) -> None:
    assert len((await desk.get(f"{PATH}?region=NJ", regions=("NJ",)))["points"]) == 60
    await desk.get(f"{PATH}?region=NJ", 403, regions=("SZ",))
    refused = await desk.get("/v1/indicators/low_scores_of_all/chart", 403, regions=("NJ",))
    assert "judges all regions as one" in refused["detail"]
    assert len((await desk.get("/v1/indicators/low_scores_of_all/chart"))["points"]) == 60
