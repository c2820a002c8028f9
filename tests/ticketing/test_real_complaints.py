"""The shipped settings on real complaints: quiet for two months, one ticket for the burst."""

import csv
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from closedloop.common.consumer.rows import Received
from closedloop.ticketing.settings import TicketingSettings
from ticketing.desk import Desk, complaint

FILE = Path(__file__).parents[3] / "shared" / "data" / "telecom-complaints-2015.csv"
EASTERN = ZoneInfo("America/New_York")
BURST = datetime(2015, 6, 23, 13, tzinfo=EASTERN)

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"the real complaints are not beside this repository ({FILE.name})")


def rows() -> list[Received]:
    with FILE.open(encoding="utf-8-sig", newline="") as file:
        return [
            complaint(
                datetime.fromisoformat(row["received_at"]),
                customer=row["ticket"],
                id=row["ticket"],
                complaint_id=row["ticket"],
                topic="telecom/all",
                region=row["state"].replace(" ", "_"),
            )
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
async def test_shipped_settings_open_one_ticket_for_the_burst_and_none_before(desk: Desk, zone: str) -> None:
    desk = Desk(desk.pool, TicketingSettings(settle_s=0), ZoneInfo(zone))
    complaints = rows()
    for start in range(0, len(complaints), 500):
        await desk.take(*complaints[start : start + 500])
    await desk.state(datetime(2015, 7, 2, tzinfo=EASTERN))

    [ticket] = await desk.all_tickets()
    assert BURST <= ticket["opened_at"] <= BURST + timedelta(hours=3)
    assert ticket["trigger"] == "batch"
    assert all(firing["at"] >= BURST for firing in await desk.firings())

    await desk.take(*complaints)  # imported again
    await desk.take(*complaints[1000:2000])
    await desk.state(datetime(2026, 1, 1, tzinfo=EASTERN))
    assert [t["id"] for t in await desk.all_tickets()] == [ticket["id"]]
    assert sum(complaints for complaints, _ in (await desk.bins()).values()) == len(complaints)
