"""2,224 real complaints of a US operator's customers (April to June 2015) through the command line into the real system.

With the shipped settings of every trigger no ticket opens in April and May, and the burst of 23 June opens exactly one.
kpi's retention (400 days as shipped) is lengthened: the data is older than that.
"""

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder

pytestmark = pytest.mark.timeout(600)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "telecom-complaints-2015.csv"
ROWS = 2224
TOPIC_PATH = "cable/complaint"
BURST = datetime(2015, 6, 23, 17, tzinfo=UTC)  # 13:00 US Eastern
SAME = 'ticketing_duplicates_total{content="same"}'
HOT = 100  # customers who make a subject hot, as shipped
MAPPING = Path(__file__).resolve().parents[1] / "cli" / "mappings" / "telecom-complaints-2015.yaml"


class System:
    """The running stack as its users see it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._client = httpx2.Client(headers={"Authorization": f"Bearer {stack.token('admin')}"}, timeout=30)

    def close(self) -> None:
        self._client.close()

    def import_file(self, file: Path) -> None:
        command = [sys.executable, "-m", "closedloop.cli", "import", str(file), "--mapping", str(MAPPING)]
        command += ["--url", self._stack.url("ingest"), "--token", self._stack.token("producer")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=self._folder, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def get(self, service: str, path: str) -> Any:
        answer = self._client.get(self._stack.url(service) + path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def counted(self) -> float:
        """Complaints that kpi has counted, day by day over the three months."""
        path = "/v1/indicators/complaints_registered/series?window=24h&step=24h&from=2015-04-01T00:00:00Z&to=2015-07-02T00:00:00Z"
        return sum(point["numerator"] or 0 for point in self.get("kpi", path)["points"])

    def complain(self, topic_path: str, customers: int) -> None:
        """So many customers complain of one subject, all in one minute on the day of the burst."""
        complaints = [
            {"complaint_id": f"after-{n}", "customer_id": f"after-{n}", "region": "nj", "topic_path": topic_path}
            | {"occurred_at": "2015-06-23T20:00:00Z"}
            for n in range(customers)
        ]
        answer = self._client.post(self._stack.url("ingest") + "/v1/complaints", json=complaints)
        assert answer.status_code == 202, answer.text

    def recognised(self) -> float:
        """Events that ticketing had taken before, with the same content."""
        [line] = [line for line in self._client.get(self._stack.url("ticketing") + "/metrics").text.splitlines() if SAME in line]
        return float(line.rpartition(" ")[2])

    def tickets(self) -> list[Any]:
        items: list[Any] = self.get("ticketing", "/v1/tickets?limit=500")["items"]
        return items


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not DATA.exists():
        pytest.skip(f"the complaints of 2015 are not at {DATA}")
    with temporary_folder() as folder, Stack(folder, Ports.free(), {"KPI_RETENTION_DAYS": "6000"}) as stack:
        system = System(stack, tmp_path_factory.mktemp("import"))
        yield system
        system.close()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


def test_every_complaint_counts_once_and_the_burst_opens_exactly_one_ticket(system: System, tmp_path: Path) -> None:
    system.import_file(DATA)
    until(lambda: system.counted() == ROWS, 60, "all rows counted")
    until(lambda: len(system.tickets()) > 0, 240, "the burst opened a ticket")
    [ticket] = system.tickets()
    before = system.get("ticketing", f"/v1/tickets/{ticket['id']}")

    # again, and an overlapping half under another name: nothing changes
    system.import_file(DATA)
    half = tmp_path / "half.csv"
    with DATA.open(newline="", encoding="utf-8") as source, half.open("w", newline="", encoding="utf-8") as target:
        rows = list(csv.reader(source))
        csv.writer(target).writerows([rows[0], *rows[ROWS // 2 :]])
    system.import_file(half)
    # What was imported again lies before these complaints in each partition, and settles before them: once they have their ticket,
    # every statement that it could have led to is made.
    system.complain("after/import", HOT)
    until(lambda: len(system.tickets()) > 1, 120, "the subject that came after the import has its ticket")
    until(lambda: system.counted() >= ROWS + HOT, 60, "the complaints that came after the import are counted")
    assert system.counted() == ROWS + HOT

    assert system.recognised() == ROWS + ROWS - (ROWS // 2 - 1)
    assert sorted(t["cause"] for t in system.tickets()) == ["topic:after/import", f"topic:{TOPIC_PATH}"]
    whole = system.get("ticketing", f"/v1/tickets/{ticket['id']}")
    assert whole["evidence"] == before["evidence"]
    first = min(datetime.fromisoformat(firing["window_end"]) for firing in whole["evidence"])
    assert BURST <= first <= BURST + timedelta(hours=3), first
