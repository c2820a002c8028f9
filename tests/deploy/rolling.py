"""A roll-out as a load balancer sees it: who is replaced gets no request, ends by SIGTERM, comes back, gets them again."""

import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from closedloop.local.service import Service
from faults.traffic import Event, Sent

PATHS = {"kpi": "/v1/indicators", "ticketing": "/v1/tickets", "recovery": "/v1/recoveries"}
BATCH = 10
PAUSE_S = 0.05


class Clients(threading.Thread):
    """Producers and users who never pause: events to one ingest, every third batch to another as well, a question to each service.

    Each request goes to one of the processes that are in service; anything but 202 or 200 ends it, and `finish` raises that.
    """

    def __init__(self, processes: Mapping[str, Sequence[Service]], token: str, events: Sequence[Event], sent: Sent) -> None:
        super().__init__(daemon=True)
        self._in_service = {name: list(several) for name, several in processes.items()}
        self._token, self._events, self._sent = token, events, sent
        self._between_requests = threading.Lock()
        self._stop_asking = threading.Event()
        self._error: BaseException | None = None
        self._chance = random.Random(1)
        self.answered: Counter[str] = Counter()
        """Requests by process."""

    def run(self) -> None:
        """Thread body."""
        try:
            for start in range(0, len(self._events), BATCH):
                if self._stop_asking.wait(PAUSE_S):
                    return
                batch = self._events[start : start + BATCH]
                for event in batch:
                    self._sent.good[event["source"], event["id"]] = event
                for _ in range(2 if start % (3 * BATCH) == 0 else 1):
                    self._ask("ingest", "POST", "/v1/events", json.dumps(batch), 202)
                for name, path in PATHS.items():
                    self._ask(name, "GET", path, None, 200)
            raise AssertionError("there were too few events for so long a roll-out")
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Stop; raises what went wrong."""
        self._stop_asking.set()
        self.join(60)
        if self._error:
            raise self._error

    def replace(self, process: Service, within_s: float) -> int:
        """Out of service, SIGTERM, started again, in service. How many requests its peers answered meanwhile."""
        peers = [other for other in self._in_service[process.name] if other is not process]
        with self._between_requests:
            self._in_service[process.name].remove(process)
            before = sum(self.answered[other.label] for other in peers)
        assert process.stop(20), f"{process.label} did not end by itself"
        process.launch()
        process.wait_working(within_s)
        with self._between_requests:
            self._in_service[process.name].append(process)
            return sum(self.answered[other.label] for other in peers) - before

    def _ask(self, name: str, method: str, path: str, body: str | None, expected: int) -> None:
        with self._between_requests:
            process = self._chance.choice(self._in_service[name])
            connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
            try:
                headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/cloudevents-batch+json"}
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            assert response.status == expected, (process.label, path, response.status, answer[:300])
            self.answered[process.label] += 1


def roll(clients: Clients, processes: Mapping[str, Sequence[Service]], within_s: float) -> dict[str, int]:
    """The services at once, the processes of each one after the other. Process → requests that its peers answered meanwhile."""

    def one_after_the_other(several: Sequence[Service]) -> dict[str, int]:
        return {process.label: clients.replace(process, within_s) for process in several}

    with ThreadPoolExecutor(len(processes)) as pool:
        return {label: count for rolled in pool.map(one_after_the_other, processes.values()) for label, count in rolled.items()}
