"""`closedloop measurements import` against kpi's routes, over HTTP."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path

import openpyxl
import pytest
import uvicorn

from closedloop.local.ports import free_port
from kpi.desk import Desk

DELIVERY = "suspension_sms_delivery_rate"
Run = Callable[..., Awaitable["subprocess.CompletedProcess[str]"]]


@pytest.fixture
async def run(desk: Desk) -> AsyncIterator[Run]:
    """Runs the command in a process of its own."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(desk.app, port=port, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve())
    token = desk.headers("manager", ("NJ", "SZ"))["Authorization"].removeprefix("Bearer ")

    async def command(file: Path, *options: str, indicator: str = DELIVERY) -> "subprocess.CompletedProcess[str]":
        return await asyncio.to_thread(
            subprocess.run,
            [
                *(sys.executable, "-m", "closedloop.cli", "measurements", "import", str(file), "-i", indicator),
                *("--url", f"http://127.0.0.1:{port}", "--token", token, *options),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

    yield command
    server.should_exit = True
    await serving


async def test_a_workbook_is_checked_then_reported_and_reported_again(desk: Desk, run: Run, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    # a spreadsheet makes dates of months
    for line in (
        ["period (month, such as 2026-10)", "region", "numerator: received", "denominator: planned", "method (how)"],
        [date(2024, 5, 1), "NJ", 9715, 10000, "BOSS report 12"],
        ["2024-05", "SZ", 90, 100, None],
        ["2024-05", "WX", 90, 100, None],
        ["2024-05", "NJ", "many", 100, None],
    ):
        sheet.append(line)
    file = tmp_path / "may.xlsx"
    book.save(file)

    checked = await run(file, "--dry-run")
    assert (checked.returncode, "2 rows acceptable (0 of them known already), 2 rejected." in checked.stdout) == (1, True), checked
    assert "row 4: region: the token does not cover WX" in checked.stderr
    assert "row 5: numerator: must be a number" in checked.stderr
    path = f"/v1/indicators/{DELIVERY}"
    assert (await desk.get(f"{path}/measurements"))["items"] == []

    reported = await run(file)
    assert "2 rows accepted (0 of them known already), 2 rejected." in reported.stdout
    kept = (await desk.get(f"{path}/measurements", region="NJ"))["items"]
    assert [(one["value"], one["file"], one["method"]) for one in kept] == [(97.15, "may.xlsx", "BOSS report 12")]
    assert "2 rows accepted (2 of them known already), 2 rejected." in (await run(file)).stdout


async def test_what_stands_in_the_way_is_one_sentence(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "may.csv"
    file.write_text("period,region,numerator,denominator\n2024-05,NJ,1,2\n2024-05,SZ,1\n")
    broken = await run(file)
    assert (broken.returncode, "1 rows accepted" in broken.stdout) == (1, True)
    assert "row 3: has 3 cells where the header has 4" in broken.stderr
    computed = await run(file, indicator="dissatisfied_share")
    assert (computed.returncode, computed.stderr) == (1, "dissatisfied_share is not reported, it is computed.\n")
    unknown = await run(file, indicator="none")
    assert "kpi refuses (404): No indicator has the id 'none'" in unknown.stderr
    nowhere = await run(file, "--url", "http://127.0.0.1:9")
    assert "No kpi answers at http://127.0.0.1:9" in nowhere.stderr
