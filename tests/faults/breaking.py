"""Breaks one part after the other while traffic flows. One that hit no work in hand does not count and is repeated, a few times.

To know what is in hand a part is frozen first (SIGSTOP): then it can be looked at, and dies (SIGKILL) in that very state.
"""

import functools
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from closedloop.common.consumer.crashpoints import CRASH_POINTS, EXIT_CODE
from closedloop.local.addresses import Ports
from closedloop.local.service import Service
from closedloop.local.stack import Stack
from faults.evidence import Evidence, Frozen, LogSince, Positions, wait_until
from faults.reading import metrics_of
from faults.traffic import Traffic

CONSUMING: Final = ("kpi", "ticketing", "recovery")
RANDOM_KILLS: Final = 5
TRIES: Final = 5
HIT_WITHIN_S: Final = 150
COMES_AGAIN_WITHIN_S: Final = 60
Condition = Callable[[], bool]
STATED: Final = {
    # grows with each statement that is committed
    "kpi": "SELECT count(*) FROM kpi.statement_history",
    "ticketing": """SELECT sum(coalesce(extract(epoch FROM batch_until), 0) + coalesce(extract(epoch FROM hot_until), 0))::bigint
                    FROM ticketing.subject""",
}


class Faults:
    """`counted`: kind of fault → how many hit work in hand that came again. `said_twice`: (topic, id) of what was published
    before a crash and still stood in the outbox after it. `frozen`: those past their session, whether they count or not."""

    def __init__(self, stack: Stack, traffic: Traffic, rng: random.Random) -> None:
        self._stack = stack
        self._traffic = traffic
        self._rng = rng
        self._evidence = Evidence(stack)
        self.counted: Counter[str] = Counter()
        self.said_twice: list[tuple[str, str]] = []
        self.frozen: list[Frozen] = []

    def all(self) -> None:
        """Every kind of fault."""
        with ThreadPoolExecutor(len(CONSUMING)) as pool:
            list(pool.map(self.every_crash_point, CONSUMING))
        for name in self._each_at_least_once():
            self._until_it_counts(f"{name} killed at random", self._ingest_killed if name == "ingest" else self._killed, name)
        self._until_it_counts("kafka killed", self._kafka_killed)
        self._until_it_counts("postgres killed", self._postgres_killed, self._rng.choice(CONSUMING))
        for name in ("recovery", "kpi"):
            self._until_it_counts("frozen past its session", self._frozen_past_its_session, name)

    def caught_up(self) -> bool:
        """Every consumer has read all there is and every outbox is empty."""
        return not any(self._evidence.outbox(name) or self._evidence.unread(name) for name in CONSUMING)

    def _each_at_least_once(self) -> list[str]:
        services = [*CONSUMING, "ingest"]
        order = [*services, *self._rng.choices(services, k=RANDOM_KILLS - len(services))]
        self._rng.shuffle(order)
        return order

    def _until_it_counts(self, what: str, fault: Callable[..., str | None], *of: str) -> None:
        """`fault` breaks and mends; it returns why it does not count, if so."""
        reasons = []
        while (reason := fault(*of)) is not None:
            reasons.append(reason)
            assert len(reasons) < TRIES, f"{what} {', '.join(of)}: {reasons}"
        self.counted[what] += 1

    # --- named crash points ---

    def every_crash_point(self, name: str) -> None:
        """The service dies at each named point once, and is started to die at the next. The exit code says that it was there: with
        a batch, a round of statements or messages to publish in hand."""
        service = self._stack.service(name)
        service.stop()
        came_again: list[tuple[str, Condition]] = []
        for point in points_of(name):
            before, stated_before = self._evidence.positions(name), self._stated(name)
            service.launch({"CRASHPOINT": point, "CRASHPOINT_SKIP": "1" if point.startswith("consumer") else "0"})
            try:
                ended = service.wait(HIT_WITHIN_S)
            except TimeoutError:
                raise AssertionError(f"{name} did not come to {point}; {self._state_of(name)}") from None
            assert ended == EXIT_CODE, f"{name} ended with {ended} before {point}: {service.complaint()}"
            if point.startswith("relay"):
                came_again.append((point, self._is_said_again(name, point)))
            elif point.startswith("statements"):
                came_again.append((point, self._is_stated(name, point, stated_before)))
            else:
                came_again.append((point, self._is_read_again(name, point, before)))
        service.start()
        for point, condition in came_again:
            wait_until(condition, COMES_AGAIN_WITHIN_S, f"{name}: what was in hand at {point} came again")
            self.counted["crash points"] += 1

    def _is_read_again(self, name: str, point: str, before: Positions) -> Condition:
        """Nothing of the batch is committed, so it comes again; after its commit all of it is, and nothing comes again."""
        at, unread, log = self._evidence.positions(name), self._evidence.unread(name), LogSince(self._stack.service(name))
        if point == "consumer.after_commit":
            assert any(at[place] > offset for place, offset in before.items()), f"{name} at {point}: no batch was committed"
        else:
            assert unread, f"{name} at {point}: nothing is left to be read again"
        return lambda: log.restored() == at and self._evidence.has_passed(name, unread)

    def _is_said_again(self, name: str, point: str) -> Condition:
        """What was to be published stands in the outbox, published or not."""
        pending = self._evidence.outbox(name)
        assert pending, f"{name} at {point}: nothing to be said again"
        if point != "relay.before_publish":
            self.said_twice.append(pending[0])  # the oldest was among those that were published
        return lambda: not set(pending) & set(self._evidence.outbox(name))

    def _is_stated(self, name: str, point: str, before: int) -> Condition:
        """The statements of the round are committed, or made again."""
        at = self._stated(name)
        if point == "statements.after_commit":
            assert at > before, f"{name} at {point}: nothing was stated"
            return lambda: True
        return lambda: self._stated(name) > at

    def _stated(self, name: str) -> int:
        return self._evidence.number(STATED[name]) if name in STATED else 0

    # --- kills and freezes at random moments ---

    def _killed(self, name: str) -> str | None:
        service = self._stack.service(name)
        batch = self._frozen_with_a_batch(service)
        log = LogSince(service)
        service.kill()
        service.start()
        restored = log.restored()
        if any(restored[place] != offset for place, offset in batch.items()):
            return f"the batch was committed: from {batch} to {restored}"
        self._comes_again(name, batch)
        return None

    def _ingest_killed(self, name: str) -> str | None:
        """Killed with a request that it was sent whole and has not answered; its producer sends it again."""
        service = self._stack.service(name)
        self._sleep()
        while True:
            request = self._traffic.awaited
            if request is None:
                time.sleep(0.001)
                continue
            service.pause()
            time.sleep(0.05)  # an answer that was on its way comes
            if self._traffic.awaited == request:
                break
            service.resume()
        service.kill()
        service.start()
        self._is_taken_again(request)
        return None

    def _kafka_killed(self) -> str | None:
        """Away for a few seconds, and killed when a request of ingest and a consumer's dead letters wait for its acknowledgement.
        Meanwhile all but ingest serve their REST, and say what they wait for."""
        kafka = self._stack.kafka
        assert kafka is not None
        logs = {name: LogSince(self._stack.service(name)) for name in CONSUMING}
        self._sleep()
        kafka.pause()
        time.sleep(0.7)  # what had been fetched is in a transaction, which waits if there is a dead letter in it
        batches = {name: self._evidence.batch_in_hand(name) for name in CONSUMING}
        request = self._traffic.awaited
        time.sleep(0.5)
        batches = {name: batch for name, batch in batches.items() if batch and batch == self._evidence.batch_in_hand(name)}
        if not batches or request is None:
            kafka.resume()
            self._all_working()
            return f"request {request} and the batches {batches} waited for Kafka"
        kafka.kill()
        time.sleep(3)
        wait_until(lambda: all(self._serves_without_kafka(name) for name in CONSUMING), 20, "ready without Kafka, and says so")
        wait_until(lambda: (self._stack.service("ingest").readiness() or (0, ""))[0] == 503, 20, "ingest is not ready")
        wait_until(lambda: request in self._traffic.refused, 20, "the request that waited for Kafka was not accepted")
        for name in batches:
            in_vain = functools.partial(self._tried_in_vain, logs[name])
            wait_until(in_vain, 40, f"{name} gives up the transaction that waited")
        kafka.start()
        self._all_working()
        self._is_taken_again(request)
        for name, batch in batches.items():
            self._comes_again(name, batch)
        return None

    def _postgres_killed(self, name: str) -> str | None:
        """Away for a few seconds, and killed when a batch's transaction was open."""
        postgres = self._stack.postgres
        assert postgres is not None
        service = self._stack.service(name)
        batch = self._frozen_with_a_batch(service)
        log = LogSince(service)
        postgres.kill()
        service.resume()
        wait_until(lambda: self._tried_in_vain(log), 20, f"{name} finds that its transaction is lost")
        time.sleep(3)
        postgres.start()
        passed = any(self._evidence.positions(name)[place] < offset for place, offset in batch.items())
        assert not passed, f"{name}: positions went back behind {batch}"
        self._all_working()
        self._comes_again(name, batch)
        return None

    def _frozen_past_its_session(self, name: str) -> str | None:
        """Another process takes the partitions over; when the first goes on, it must not write the batch that it had in hand."""
        service = self._stack.service(name)
        lost = self._fences_lost(service)
        batch = self._frozen_with_a_batch(service)
        other = self._stack.add_instance(name, f"b{self.counted.total()}", Ports.free().of(name))
        other.start()
        self._comes_again(name, batch)
        now = self._evidence.positions(name)
        self.frozen.append(Frozen(name, {place: range(offset, now[place]) for place, offset in batch.items()}))
        service.resume()
        service.wait_working(60)
        met = self._fences_lost(service) > lost
        other.stop()
        service.wait_working(60)
        return None if met else f"the batch that was in hand at {batch} did not meet the fence"

    def _frozen_with_a_batch(self, service: Service) -> Positions:
        """Freeze it at a random moment at which it has a batch in hand: where that begins."""
        deadline = time.monotonic() + HIT_WITHIN_S
        self._sleep()
        while True:
            service.pause()
            if batch := self._evidence.batch_in_hand(service.name):
                return batch
            service.resume()
            assert time.monotonic() < deadline, f"{service.label} was never in a transaction; {self._state_of(service.name)}"
            time.sleep(self._rng.uniform(0.01, 0.2))

    def _sleep(self) -> None:
        time.sleep(self._rng.uniform(0.1, 1.0))

    # --- what is seen of it ---

    def _comes_again(self, name: str, batch: Positions) -> None:
        wait_until(lambda: self._evidence.has_passed(name, batch), COMES_AGAIN_WITHIN_S, f"{name}: the batch at {batch} came again")

    def _is_taken_again(self, request: int) -> None:
        wait_until(lambda: request in self._traffic.taken_again, COMES_AGAIN_WITHIN_S, f"request {request} was sent again")

    def _tried_in_vain(self, log: LogSince) -> bool:
        return any(line["during"] == "apply" for line in log.said("waiting"))

    def _fences_lost(self, service: Service) -> float:
        return metrics_of(service.port)["consumer_fence_lost_total"]

    def _serves_without_kafka(self, name: str) -> bool:
        status, body = self._stack.service(name).readiness() or (0, "")
        assert status in (0, 200), f"{name} is not ready without Kafka: {body}"
        return status == 200 and "waits for Kafka" in json.loads(body)["notes"].get("consumer", "")

    def _all_working(self) -> None:
        for name in (*CONSUMING, "ingest"):
            self._stack.service(name).wait_working(90)

    def _state_of(self, name: str) -> str:
        """What a failed run needs to be understood."""
        rows = self._evidence.query(f"SELECT topic, partition, next_offset, watermark, moved_at FROM {name}.consumer_offset")
        told = [tuple(map(str, row)) for row in rows]
        return f"unread {self._evidence.unread(name)}, readiness {self._stack.service(name).readiness()}, {told}"


def points_of(name: str) -> list[str]:
    """Where this service can die. The points of statements are passed only with something stated."""
    return [point for point in CRASH_POINTS if name in STATED or not point.startswith("statements")]
