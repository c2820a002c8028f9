"""The routes over counted events: windows, groups, filters, regions of the token, and what is said about mistakes."""

from datetime import UTC, datetime, timedelta

import jsonschema_rs
import pytest

from closedloop.kpi.schemas import Series
from kpi.counting import Engine
from kpi.desk import Desk
from kpi.records import APPENDED

SHARE = "/v1/indicators/dissatisfied_share"
NOON = APPENDED


def before(**ago: int) -> datetime:
    return NOON - timedelta(**ago)


async def test_a_value_covers_its_window_to_the_minute(desk: Desk) -> None:
    await desk.rate(
        (before(minutes=61), {"score": 1}),
        (before(minutes=60), {"score": 1}),
        (before(minutes=59, seconds=59), {"score": 9}),
        (before(seconds=1), {"score": 8}),
        (NOON, {"score": 1}),
    )
    answer = await desk.get(f"{SHARE}/value", window="1h", at=(NOON + timedelta(seconds=59)).isoformat())
    assert answer["numerator"] == 1
    assert (answer["denominator"], answer["sample"]) == (3, 3)
    assert answer["value"] == pytest.approx(100 / 3)
    assert (answer["from"], answer["to"]) == ("2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z")


@pytest.mark.parametrize(("window", "counted"), [("5m", 1), ("1h", 2), ("24h", 3), ("7d", 4), ("30d", 6), ("month", 5)])
async def test_each_window_counts_what_happened_in_it(desk: Desk, window: str, counted: int) -> None:
    events = [before(minutes=2), before(minutes=30), before(hours=13), before(days=3), before(days=15), before(days=25)]
    await desk.rate(*((at, {"score": 1}) for at in events), (before(days=31), {"score": 1}))
    assert (await desk.get(f"{SHARE}/value", window=window, at=NOON.isoformat()))["sample"] == counted


async def test_hours_and_their_odd_ends_add_up_to_the_minutes(desk: Desk) -> None:
    await desk.rate(*((before(minutes=n), {"score": 1}) for n in range(0, 3 * 1440, 7)))
    for minutes in (0, 1, 59, 60, 61, 1441):
        at = before(minutes=minutes)
        answer = await desk.get(f"{SHARE}/value", window="24h", at=at.isoformat())
        assert answer["sample"] == sum(1 for n in range(0, 3 * 1440, 7) if at - timedelta(hours=24) <= before(minutes=n) < at)


async def test_where_nothing_happened_the_value_is_null(desk: Desk) -> None:
    answer = await desk.get(f"{SHARE}/value", window="1h", at=NOON.isoformat())
    assert (answer["value"], answer["numerator"], answer["denominator"], answer["sample"]) == (None, 0, 0, 0)
    count = await desk.get("/v1/indicators/sms_ratings/value")
    assert (count["value"], count["denominator"]) == (0, None)


async def test_filters_are_the_indicators_dimensions(desk: Desk) -> None:
    await desk.rate(
        (before(minutes=2), {"region": "NJ", "channel": "web", "score": 1}),
        (before(minutes=2), {"region": "SZ", "channel": "web", "score": 9}),
        (before(minutes=2), {"region": "SZ", "channel": "app", "score": 9}),
        (before(minutes=2), {"region": "SZ", "score": 9}),
    )
    at = NOON.isoformat()
    assert (await desk.get(f"{SHARE}/value", at=at, region="NJ"))["value"] == 100
    assert (await desk.get(f"{SHARE}/value", at=at, channel="web"))["sample"] == 2
    assert (await desk.get(f"{SHARE}/value", at=at, channel=["web", "app"], region="SZ"))["sample"] == 2
    problem = await desk.get(f"{SHARE}/value", 422, at=at, topic_path="x")
    assert problem["field"] == "topic_path"
    assert "channel" in problem["detail"]


async def test_a_token_sees_its_own_regions(desk: Desk) -> None:
    await desk.rate(*((before(minutes=2), {"region": region, "score": 1}) for region in ("NJ", "SZ", "SZ", "WX")))
    at = NOON.isoformat()
    assert (await desk.get(f"{SHARE}/value", at=at, regions=("NJ", "SZ")))["sample"] == 3
    assert (await desk.get(f"{SHARE}/value", at=at, regions=("NJ", "SZ"), region="NJ"))["sample"] == 1
    assert (await desk.get(f"{SHARE}/value", 403, at=at, regions=("NJ", "SZ"), region="WX"))["field"] == "region"
    assert (await desk.get(f"{SHARE}/value", 403, at=at, regions=("NJ",), region=["NJ", "WX"]))["status"] == 403
    series = await desk.get(f"{SHARE}/series", to=at, regions=("NJ", "SZ"), group_by="region")
    assert {point["group"]["region"] for point in series["points"]} == {"NJ", "SZ"}


async def test_a_token_for_some_regions_does_not_see_tickets_of_several(desk: Desk) -> None:
    at = NOON.isoformat()
    assert (await desk.get("/v1/indicators/tickets_opened/value", at=at, regions=("NJ",)))["sample"] == 0


async def test_a_series_moves_its_window_by_the_step(desk: Desk) -> None:
    await desk.rate(*((before(minutes=n), {"score": 1 if n < 60 else 9}) for n in range(1, 181)))
    answer = await desk.get(
        f"{SHARE}/series", window="1h", step="30m", to=NOON.isoformat(), query={"from": before(hours=2).isoformat()}
    )
    jsonschema_rs.validate(Series.model_json_schema(mode="serialization"), answer)
    assert answer.keys() == Series.model_fields.keys()
    assert [point["to"][11:16] for point in answer["points"]] == ["10:00", "10:30", "11:00", "11:30", "12:00"]
    assert [point["sample"] for point in answer["points"]] == [60] * 5
    assert [round(point["numerator"]) for point in answer["points"]] == [0, 0, 0, 29, 59]


async def test_a_series_that_is_left_to_itself_ends_at_its_steps_boundary(desk: Desk) -> None:
    at = (NOON + timedelta(minutes=37)).isoformat()
    by_hours = (await desk.get(f"{SHARE}/series", window="24h", to=at))["points"]
    assert [point["to"] for point in by_hours][-2:] == ["2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z"]
    by_days = (await desk.get(f"{SHARE}/series", window="7d", to=at))["points"]
    assert {point["to"][11:] for point in by_days} == {"16:00:00Z"}  # the operator's midnight
    assert len(by_hours) == len(by_days) == 25


async def test_a_series_equals_the_values_at_its_points(desk: Desk) -> None:
    await desk.rate(*((before(minutes=n * 13), {"score": n % 10 + 1, "region": f"R{n % 3}"}) for n in range(500)))
    for window, step in (("1h", "45m"), ("24h", "1h"), ("7d", "1d"), ("month", "1d")):
        series = await desk.get(f"{SHARE}/series", window=window, step=step, to=NOON.isoformat(), group_by="region")
        for point in series["points"][:: max(1, len(series["points"]) // 7)]:
            value = await desk.get(f"{SHARE}/value", window=window, at=point["to"], region=point["group"]["region"])
            assert {k: value[k] for k in ("from", "to", "numerator", "denominator", "sample")} == {
                k: point[k] for k in ("from", "to", "numerator", "denominator", "sample")
            }


async def test_events_that_do_not_say_are_a_group_of_their_own(desk: Desk) -> None:
    await desk.rate((before(minutes=2), {"channel": "web", "score": 1}), (before(minutes=2), {"score": 1}))
    series = await desk.get(f"{SHARE}/series", to=NOON.isoformat(), query={"from": NOON.isoformat()}, group_by="channel")
    assert [(point["group"], point["sample"]) for point in series["points"]] == [({"channel": "web"}, 1), ({"channel": None}, 1)]


async def test_a_series_of_too_many_points_is_refused_with_the_way_out(desk: Desk) -> None:
    await desk.rate(*((before(minutes=2), {"region": f"R{n}", "score": 1}) for n in range(20)))
    to, start = NOON.isoformat(), before(days=2).isoformat()
    assert len((await desk.get(f"{SHARE}/series", to=to, query={"from": start}, step="1m"))["points"]) == 2881
    for asked in ({"step": "1m", "from": before(days=30).isoformat()}, {"step": "1m", "from": start, "group_by": "region"}):
        problem = await desk.get(f"{SHARE}/series", 422, to=to, query=asked)
        assert problem["field"] == "step"
        assert "10,000" in problem["detail"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"at": "2026-11-20T08:00:00"}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"window": "2h"}, "window"),
        ({"color": "red"}, "color"),
    ],
)
async def test_a_mistake_in_a_value_is_named(desk: Desk, params: dict[str, str], field: str) -> None:
    problem = await desk.get(f"{SHARE}/value", 422, query=params)
    assert field in problem["detail"]


@pytest.mark.parametrize(
    ("params", "field"),
    [({"step": "1w"}, "step"), ({"from": "2026-11-20T12:01:00Z"}, "from"), ({"group_by": "kind,colour"}, "group_by")],
)
async def test_a_mistake_in_a_series_is_named(desk: Desk, params: dict[str, str], field: str) -> None:
    problem = await desk.get(f"{SHARE}/series", 422, to="2026-11-20T12:00:00Z", query=params)
    assert problem["field"] == field


async def test_a_plus_that_was_not_encoded_is_understood(desk: Desk) -> None:
    answer = await desk.get(f"{SHARE}/value", at="2026-11-20T20:00:00 08:00")
    assert answer["to"] == "2026-11-20T12:00:00Z"


async def test_the_catalogue_is_listed_filtered_and_paged(desk: Desk, engine: Engine) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await desk.get("/v1/indicators", limit=7, query={"cursor": cursor} if cursor else None)
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == sorted(indicator.id for indicator in engine.catalogue.indicators)
    orders = (await desk.get("/v1/indicators", topic="orders", query={"class": "operating"}))["items"]
    assert orders
    assert {(item["topic"], item["class"]) for item in orders} == {("orders", "operating")}


async def test_an_indicator_shows_its_formula_and_names(desk: Desk) -> None:
    entry = await desk.get(SHARE)
    assert entry["name_zh"] == "不满意评价占比"
    assert entry["numerator"] == "dissatisfied"
    assert entry["threshold"]["by"] == ["region"]
    problem = await desk.get("/v1/indicators/none", 404)
    assert "/v1/indicators" in problem["detail"]


async def test_without_the_scope_nothing_is_shown(desk: Desk) -> None:
    await desk.get("/v1/indicators", 403, role="agent")
    await desk.get(f"{SHARE}/value", 403, role="producer")


async def test_now_is_the_default(desk: Desk) -> None:
    answer = await desk.get(f"{SHARE}/value", window="5m")
    ended = datetime.fromisoformat(answer["to"])
    assert timedelta(0) <= datetime.now(UTC) - ended < timedelta(minutes=2)
