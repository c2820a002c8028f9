"""A roll-out as a load balancer sees it: who is replaced gets no request, ends by SIGTERM, comes back, gets them again."""

import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from closedloop.local.service import Service
from faults.traffic import Event, Sent

LISTS = {"kpi": "/v1/indicators", "ticketing": "/v1/tickets", "recovery": "/v1/recoveries"}
BATCH = 10
PAUSE_S = 0.05


class Clients(threading.Thread):
    """Producers and users who never pause: events to one ingest, every third batch to another as well, a question to each service,
    a contact that is reserved and released.

    Each request goes to one of the processes that are in service, and is left out where a service has none; any answer but the
    expected ends it, and `finish` raises that.
    """

    def __init__(self, processes: Mapping[str, Sequence[Service]], token: str, events: Sequence[Event], sent: Sent) -> None:
        super().__init__(daemon=True)
        self._in_service = {name: list(several) for name, several in processes.items()}
        self._token, self._events, self._sent = token, events, sent
        self._between_requests = threading.Lock()
        self._stop_asking = threading.Event()
        self.error: BaseException | None = None
        self._chance = random.Random(1)
        self.answered: Counter[str] = Counter()
        """Requests by process."""
        self.left_out: Counter[str] = Counter()
        """Requests by service that nobody was there for."""

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
                    self._ask("ingest", "POST", "/v1/events", 202, batch, "application/cloudevents-batch+json")
                for name, path in LISTS.items():
                    self._ask(name, "GET", path, 200)
                self._plan_contact(f"planned-{start}")
            raise AssertionError("there were too few events for so long a roll-out")
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        """Stop; raises what went wrong."""
        self._stop_asking.set()
        self.join(60)
        if self.error:
            raise self.error

    def replace(self, process: Service, within_s: float) -> int:
        """Out of service, SIGTERM, started again, in service. How many requests its peers answered meanwhile."""
        self.take_out(process)
        peers = list(self._in_service[process.name])
        before = sum(self.answered[other.label] for other in peers)
        assert process.stop(20), f"{process.label} did not end by itself"
        process.launch()
        process.wait_working(within_s)
        with self._between_requests:
            answered = sum(self.answered[other.label] for other in peers) - before
        self.put_in(process)
        return answered

    def take_out(self, process: Service) -> None:
        """It gets no more requests; none is under way."""
        with self._between_requests:
            self._in_service[process.name].remove(process)

    def put_in(self, process: Service) -> None:
        """It gets requests from now on."""
        with self._between_requests:
            self._in_service[process.name].append(process)

    def _plan_contact(self, customer: str) -> None:
        path, body = "/v1/contacts/reservations", {"customer_id": customer, "region": "NJ", "purpose": "survey"}
        reserved = self._ask("recovery", "POST", path, 201, body)
        if reserved is not None:
            self._ask("recovery", "POST", f"{path}/{reserved['reservation_id']}/release", 200, {})

    def _ask(self, name: str, method: str, path: str, expected: int, body: Any = None, form: str = "application/json") -> Any:
        """The answer; None where no process is in service."""
        with self._between_requests:
            if not self._in_service[name]:
                self.left_out[name] += 1
                return None
            process = self._chance.choice(self._in_service[name])
            connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
            try:
                headers = {"Authorization": f"Bearer {self._token}", "Content-Type": form}
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            assert response.status == expected, f"{process.label} answered {response.status} to {method} {path}: {answer[:300]!r}"
            self.answered[process.label] += 1
            return json.loads(answer)


def roll(clients: Clients, processes: Mapping[str, Sequence[Service]], within_s: float) -> dict[str, int]:
    """The services at once, the processes of each one after the other. Process → requests that its peers answered meanwhile."""

    def one_after_the_other(several: Sequence[Service]) -> dict[str, int]:
        return {process.label: clients.replace(process, within_s) for process in several}

    with ThreadPoolExecutor(len(processes)) as pool:
        return {label: count for rolled in pool.map(one_after_the_other, processes.values()) for label, count in rolled.items()}
