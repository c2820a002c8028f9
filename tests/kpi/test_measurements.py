"""Reported figures over REST: what is taken, what is kept of it, and what values it makes."""

import csv
import io
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from closedloop.kpi.domain.catalogue import ReportedIndicator
from closedloop.kpi.domain.periods import EXAMPLES
from closedloop.kpi.measurements import MOST_ROWS
from kpi.counting import Engine
from kpi.desk import Desk

DELIVERY = "suspension_sms_delivery_rate"  # a ratio by region and customer class, monthly
JUNE = "2024-06-01T00:00:00+08:00"
JULY = "2024-07-01T00:00:00+08:00"


def row(**fields: Any) -> dict[str, Any]:
    return {"period": "2024-05", "region": "NJ", "numerator": 90, "denominator": 100} | fields


async def value(desk: Desk, indicator: str = DELIVERY, at: str = JUNE, **params: Any) -> Any:
    return await desk.get(f"/v1/indicators/{indicator}/value", at=at, **{"window": "month", **params})


async def versions(desk: Desk, indicator: str = DELIVERY, **params: Any) -> Any:
    return (await desk.get(f"/v1/indicators/{indicator}/measurements", **params))["items"]


async def test_good_rows_are_kept_and_each_bad_one_is_named(desk: Desk) -> None:
    rows = [row(), row(region="SZ", numerator="x"), row(region="SZ", numerator=40), "no object", row(period="2024-13")]
    answer = await desk.report(DELIVERY, rows)
    assert (answer["accepted"], answer["unchanged"], answer["rejected_total"]) == (2, 0, 3)
    assert [(one["index"], one["problem"].get("field")) for one in answer["rejected"]] == [(1, "numerator"), (3, ""), (4, "period")]
    assert answer["rejected"][0]["problem"]["detail"].startswith("numerator: must be a number")
    found = await value(desk)
    assert (found["value"], found["numerator"], found["denominator"], found["sample"]) == (65, 130, 200, 2)
    nothing_good = await desk.report(DELIVERY, [row(period="x"), row(region="?")], 422)
    assert (nothing_good["accepted"], nothing_good["rejected_total"]) == (0, 2)
    assert "None of the 2 rows can be taken. The first: period: must be a month" in nothing_good["detail"]


async def test_a_correction_is_a_new_version_and_what_was_known_then_is_still_shown(desk: Desk) -> None:
    await desk.report(DELIVERY, row(file="may.xlsx", method="BOSS report 12"))
    (first,) = await versions(desk)
    assert (first["version"], first["reported_by"], first["value"], first["file"]) == (1, "ann", 90, "may.xlsx")
    assert (first["from"], first["to"], first["method"]) == ("2024-05-01", "2024-06-01", "BOSS report 12")

    unsaid = await desk.report(DELIVERY, row(numerator=95), 422)
    assert unsaid["field"] == "reason"
    again = await desk.report(DELIVERY, row(reason="sent twice"), 200)
    assert (again["accepted"], again["unchanged"]) == (1, 1)
    await desk.report(DELIVERY, row(numerator=95, reason="SMS centre 2 was left out"), subject="bob")

    told = await versions(desk)
    assert [(one["version"], one["numerator"], one["reported_by"], one["reason"]) for one in told] == [
        (2, 95, "bob", "SMS centre 2 was left out"),
        (1, 90, "ann", None),
    ]
    then = first["reported_at"]
    assert (await value(desk))["value"] == 95
    assert (await value(desk, asOf=then))["value"] == 90
    assert (await value(desk, asOf="2020-01-01T00:00:00Z"))["value"] is None
    assert [one["version"] for one in await versions(desk, asOf=then)] == [1]
    series = await desk.get(
        f"/v1/indicators/{DELIVERY}/series", window="month", step="month", to=JUNE, asOf=then, query={"from": JUNE}
    )
    assert [point["value"] for point in series["points"]] == [90]
    future = await desk.get(f"/v1/indicators/{DELIVERY}/value", 422, asOf="2999-01-01T00:00:00Z")
    assert future["field"] == "asOf"


async def test_versions_are_listed_in_pages_by_period_and_dimension(desk: Desk) -> None:
    await desk.report(DELIVERY, [row(period=f"2024-0{month}", region=region) for month in range(1, 6) for region in ("NJ", "SZ")])
    pages, cursor = [], None
    while True:
        page = await desk.get(f"/v1/indicators/{DELIVERY}/measurements", limit=4, query={"cursor": cursor} if cursor else None)
        pages.append([(one["period"], one["dimensions"]["region"]) for one in page["items"]])
        cursor = page["next"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [4, 4, 2]
    assert len({one for page in pages for one in page}) == 10
    assert [one["dimensions"]["region"] for one in await versions(desk, period="2024-03")] == ["SZ", "NJ"]
    assert len(await versions(desk, region="SZ")) == 5
    assert len(await versions(desk, regions=("NJ",))) == 5


async def test_a_token_reports_and_reads_its_own_regions(desk: Desk) -> None:
    foreign = await desk.report(DELIVERY, [row(), row(region="SZ"), row(region=None)], regions=("NJ",))
    assert [one["problem"]["status"] for one in foreign["rejected"]] == [403, 403]
    await desk.report(DELIVERY, [row(region="SZ", numerator=10), row(region=None, numerator=50, denominator=100)])
    assert (await value(desk))["value"] == 50  # the whole, where it was reported
    assert (await value(desk, regions=("SZ",)))["value"] == 10
    assert [one["numerator"] for one in await versions(desk, regions=("SZ",))] == [10]
    assert (await value(desk, region=["NJ", "SZ"]))["value"] == 50
    assert (await value(desk, region="NJ"))["value"] == 90
    await desk.report(DELIVERY, row(), 403, role="analyst")
    await desk.report(DELIVERY, row(), 403, role="producer")


async def test_a_repetition_with_its_key_gets_the_first_answer(desk: Desk) -> None:
    first = await desk.report(DELIVERY, [row(), row(period="x")], key="may")
    assert await desk.report(DELIVERY, [row(), row(period="x")], key="may") == first
    assert first["unchanged"] == 0
    other = await desk.report(DELIVERY, [row(numerator=1)], 422, key="may")
    assert "Idempotency-Key" in other["detail"]


async def test_a_dry_run_says_the_same_and_keeps_nothing(desk: Desk) -> None:
    answer = await desk.report(DELIVERY, [row(), row(period="x")], 200, dry_run="true", key="dry")
    assert (answer["accepted"], answer["rejected_total"]) == (1, 1)
    assert await versions(desk) == []
    assert (await desk.report(DELIVERY, [row(), row(period="x")], key="dry"))["accepted"] == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([], 422, "The list is empty"),
        ([{}] * (MOST_ROWS + 1), 422, "5,001 rows; the limit is 5,000: send them in parts"),
        ("period,region\n", 422, "no rows below the header"),
        ("period,color\n2024-05,red\n", 422, "header: `color` is no field of suspension_sms_delivery_rate"),
        ("period,period\n1,1\n", 422, "header: `period` stands there twice"),
        ("period,region,numerator,denominator\n2024-05,N J,1,2,3\n", 422, "has 5 cells where the header has 4"),
        ("период\n".encode("cp1251"), 400, "not UTF-8; save the sheet as `CSV UTF-8`"),
        ('period,region\n"2024-05,NJ\n', 400, "not CSV"),
    ],
)
async def test_a_body_that_cannot_be_taken_is_explained(desk: Desk, body: Any, status: int, said: str) -> None:
    assert said in (await desk.report(DELIVERY, body, status))["detail"]


async def test_only_a_reported_indicator_takes_reports(desk: Desk) -> None:
    for computed in ("dissatisfied_share", "complaints_per_10k_customers"):
        problem = await desk.report(computed, row(), 404)
        assert "is not reported, it is computed" in problem["detail"]
    await desk.report("none", row(), 404)
    await desk.get("/v1/indicators/dissatisfied_share/template", 404)
    problem = await desk.get("/v1/indicators/dissatisfied_share/value", 422, asOf=JUNE)
    assert "computed from events" in problem["detail"]


async def test_a_sheet_as_offices_save_it_is_taken(desk: Desk) -> None:
    sheet = "\ufeffPeriod (month);Region;Numerator: received;denominator;File;;\r\n2024-05;NJ;90;100;may.xls;;\r\n;;;;;;\r\n"
    assert (await desk.report(DELIVERY, sheet))["accepted"] == 1
    assert (await value(desk))["value"] == 90


async def test_every_reported_indicator_takes_its_template_filled_in(desk: Desk, engine: Engine) -> None:
    reported = [one for one in engine.catalogue.indicators if isinstance(one, ReportedIndicator)]
    assert len(reported) > 100
    for number, indicator in enumerate(reported, 1):
        header = next(csv.reader(io.StringIO((await desk.text(f"/v1/indicators/{indicator.id}/template")).removeprefix("\ufeff"))))
        figures = {"numerator": number, "denominator": 7, "value": number / 7}
        known = {
            "period": EXAMPLES[indicator.granularity].replace("2026", "2024"),
            "region": "NJ",
            "customer_class": "gold",
            "file": "may.csv",
        } | figures
        sheet = io.StringIO()
        writer = csv.writer(sheet)
        writer.writerow(header)
        writer.writerow([known.get(cell.partition(":")[0].partition("(")[0].strip(), "") for cell in header])
        assert (await desk.report(indicator.id, sheet.getvalue()))["accepted"] == 1, indicator.id
        found = await value(desk, indicator.id, at="2025-01-01T00:00:00+08:00", window="year", region="NJ")
        exact = indicator.value(float(number), 7.0 if indicator.has_parts else None)
        assert found["value"] == pytest.approx(number / 7 if indicator.quantities == ("value",) else exact), indicator.id


async def test_windows_of_every_length_add_the_periods_that_lie_whole_in_them(desk: Desk) -> None:
    await desk.report(DELIVERY, [row(period=f"2024-0{month}", numerator=month, denominator=10) for month in range(1, 7)])
    assert (await value(desk, window="quarter", at=JULY))["numerator"] == 4 + 5 + 6
    assert (await value(desk, window="year", at=JULY))["numerator"] == 21
    assert (await value(desk, window="30d", at=JULY))["numerator"] == 6
    assert (await value(desk, window="7d", at=JULY))["value"] is None
    assert (await value(desk, at="2024-06-30T00:00:00+08:00"))["value"] is None
    series = await desk.get(
        f"/v1/indicators/{DELIVERY}/series", window="month", step="month", to=JULY, query={"from": "2024-02-01T00:00:00+08:00"}
    )
    assert [point["value"] for point in series["points"]] == [10, 20, 30, 40, 50, 60]


async def test_complaints_per_10k_customers_drill_down_to_their_parts(desk: Desk) -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    # the base of May 2024 is the last one known
    bases = [{"period": "2024-05", "region": region, "numerator": count} for region, count in (("NJ", 20_000), ("SZ", 10_000))]
    await desk.report("customers", bases)
    complaint = {"customer_id": "C1", "topic_path": "bill/wrong"}
    at = datetime(2026, 11, 20, 11, tzinfo=UTC)
    regions = ("NJ", "NJ", "NJ", "WX")
    await desk.happen(
        "complaints",
        "complaint.registered.v1",
        *((at, complaint | {"complaint_id": f"k{n}", "region": region}) for n, region in enumerate(regions)),
    )
    path = "/v1/indicators/complaints_per_10k_customers"
    found = await desk.get(f"{path}/value", window="24h", at=noon.isoformat(), region="NJ")
    assert (found["value"], found["numerator"]) == (1.5, None)
    assert found["parts"]["complaints_registered"] == {
        "value": 3,
        "numerator": 3,
        "denominator": None,
        "sample": 3,
        "note": None,
    }
    assert found["parts"]["customers"]["value"] == 20_000
    series = await desk.get(
        f"{path}/series", window="24h", to=noon.isoformat(), group_by="region", query={"from": noon.isoformat()}
    )
    assert [(point["group"]["region"], point["value"]) for point in series["points"]] == [("NJ", 1.5), ("SZ", 0), ("WX", None)]
    assert (await desk.get(f"{path}/value", window="24h", at=noon.isoformat(), regions=("SZ",)))["value"] == 0
    assert (await desk.get(f"{path}/value", window="24h", at=noon.isoformat(), asOf=JUNE))["value"] is None
    assert (await desk.get(f"{path}/value", 422, channel="web"))["field"] == "channel"


async def test_the_catalogue_is_searched_by_how_figures_are_got(desk: Desk) -> None:
    tested = (await desk.get("/v1/indicators", collection="mystery_customer", process="e_channel"))["items"]
    assert "ec_chat_timeliness" in {item["id"] for item in tested}
    notices = (await desk.get("/v1/indicators", factor="early_notice_of_suspension"))["items"]
    assert {item["factor"] for item in notices} == {"early_notice_of_suspension"}


async def test_what_was_reported_cannot_be_changed_in_the_database(desk: Desk, engine: Engine) -> None:
    await desk.report(DELIVERY, row())
    for statement in ("UPDATE measurement SET numerator = 1", "DELETE FROM measurement", "TRUNCATE measurement"):
        with pytest.raises(asyncpg.PostgresError, match=r"measurement is append-only|permission denied"):
            await engine.pool.execute(statement)


async def test_a_path_is_no_way_around(desk: Desk) -> None:
    await desk.get(f"/v1/indicators/{quote('../x', safe='')}/measurements", 404)
