"""Whether a service grows under a steady load: the slope of its resident memory, after a warm-up, against 1 MB a minute.

Events come in all the time, and agents claim customers, call and record what came of it, so recovery works as it does by day. One
run: a slope has many samples of its own. The warm-up is long for kpi's sake: from the 5th minute to the 15th it grew by 2 to 3 MB a
minute in five runs. About half of that was the buckets that it keeps at hand, few at first and bounded; the rest was not traced.

python benchmarks/steady_memory.py [--minutes 10] [--warm-up 20] [--per-second 200]
"""

import argparse
import http.client
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bars

from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from faults.traffic import Traffic

LIMIT_MB_PER_MINUTE = 1.0
SAMPLE_S = 2.0
CALL_S = 1.0
RESULTS: tuple[dict[str, Any], ...] = (
    {"reached": True, "result": "resolved", "reason": "bill_wrong"},
    {"reached": True, "result": "declined"},
    {"reached": False, "result": "no_answer"},
)
PAGE_MB = 4096 / 1e6


class Agent(threading.Thread):
    """Claims, keeps the claim, calls and records, one customer a second, until told to stop."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self._port, self._token = port, token
        self._stopping = threading.Event()
        self._calls = 0
        self._error: BaseException | None = None

    def run(self) -> None:
        """Thread body."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            while not self._stopping.wait(CALL_S):
                claim = self._post(connection, "/v1/claims", {})
                if claim is None:
                    continue
                one = f"/v1/recoveries/{claim['recovery_id']}"
                self._post(connection, f"{one}/heartbeat", {"claim_number": claim["claim_number"]})
                result = RESULTS[self._calls % len(RESULTS)]
                recorded = self._post(connection, f"{one}/contacts", {"claim_number": claim["claim_number"], **result})
                self._calls += recorded is not None
        except BaseException as error:
            self._error = error

    def _post(self, connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == http.client.SERVICE_UNAVAILABLE:
            return None  # many in a row have used up their contact limit, and were put off
        assert answer.status < http.client.MULTIPLE_CHOICES, text
        return json.loads(text) if text else None

    def finish(self) -> int:
        """Stop; how many calls were recorded."""
        self._stopping.set()
        self.join(60)
        if self._error:
            raise self._error
        return self._calls


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB


def main() -> None:
    """Print the slope of each service and whether it keeps the limit; exit code 1 where one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=20, help="minutes")
    parser.add_argument("--per-second", type=int, default=200)
    parser.add_argument("--agents", type=int, default=10)
    options = parser.parse_args()
    with temporary_folder() as folder, Stack(folder, Ports.free()) as stack:
        traffic = Traffic(1, stack.ports.of("ingest"), stack.token("admin"), stack.bootstrap, options.per_second)
        traffic.start()
        desks = [Agent(stack.ports.of("recovery"), stack.token("agent", f"agent-{n}")) for n in range(options.agents)]
        for desk in desks:
            desk.start()
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVICES}
        began = time.monotonic()
        end = began + 60 * (options.warm_up + options.minutes)
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            minute = (time.monotonic() - began) / 60
            for name in SERVICES:
                pid = stack.service(name).pid
                if pid is not None and minute > options.warm_up:
                    samples[name].append((minute, resident_mb(pid)))
        calls = sum(desk.finish() for desk in desks)
        sent = traffic.finish()
    lasted = options.warm_up + options.minutes
    print(f"{sent.total} records and {calls} calls in {lasted:g} min; the slope after {options.warm_up:g} min:")
    bars = Bars()
    bars.at_least("calls recorded by the agents, a minute", calls / lasted, 1)
    for name, of_one in samples.items():
        minutes, megabytes = np.array(of_one).T
        slope = np.polyfit(minutes, megabytes, 1)[0]
        bars.at_most(f"{name} ({megabytes[0]:.0f} → {megabytes[-1]:.0f} MB)", slope, LIMIT_MB_PER_MINUTE, " MB/min")
    bars.exit()


if __name__ == "__main__":
    main()
