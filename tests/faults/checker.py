"""Compares what the system did with a plain recomputation from what was sent. Imports nothing of the product."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from faults.evidence import Frozen
from faults.indicators import dissatisfied, fields
from faults.reading import Services, read_topic, said
from faults.traffic import POISON_KINDS, Event, Sent

T = TypeVar("T")
CONSUMERS = {"evaluations": ("kpi", "recovery"), "complaints": ("kpi", "ticketing", "recovery"), "orders": ("kpi",)}
QUEUED_WITHIN = timedelta(hours=24)
ROUNDS = 6
BATCH_LEAST_CUSTOMERS = 5
REASONS = (
    # by kind of poison: the stage and class of the refusal, and what its sentence must say
    ("decode", "json", "invalid unicode"),
    ("decode", "json", "NUL character"),
    ("decode", "json", "duplicate key"),
    ("decode", "json", "escape"),  # a surrogate that stands alone is half an escape
    ("decode", "json", "tombstone"),
    ("rules", "time", "needs an offset"),
    ("rules", "time", "5 min ahead"),
    ("rules", "data.score", "out of range"),
    ("decode", "json", "nested too deeply"),
    ("decode", "json", "the limit is 262144"),
    ("rules", "type", "not a known event type"),
    ("rules", "type", "belongs to the topic"),
)


def check_recoveries(services: Services, sent: Sent, arrived: datetime) -> int:
    """Each customer who was dissatisfied within the last 24 h has exactly one recovery, and nobody else has."""
    expected = {
        e["data"]["customer_id"]
        for e in sent.good.values()
        if datetime.fromisoformat(e["time"]) > arrived - QUEUED_WITHIN
        and (
            (e["type"] == "evaluation.submitted.v1" and dissatisfied(fields(e)))
            or (e["type"] == "complaint.closed.v1" and e["data"].get("satisfied") is False)
        )
    }
    found = Counter(item["customer_id"] for item in services.all_of(services.recovery, "/v1/recoveries"))
    assert [c for c, n in found.items() if n > 1] == []
    assert found.keys() == expected, (len(found.keys() - expected), len(expected - found.keys()))
    return len(expected)


def check_tickets(
    services: Services, sent: Sent, breached: Iterable[Event], breached_by_now: Callable[[], Iterable[Event]]
) -> Counter[str]:
    """One open ticket for each subject (or else complaint) that was escalated and each series that was breached; beyond these,
    only on subjects of which enough customers complained. `breached`: kpi's critical breaches, `breached_by_now`: with those that
    came since. Returns how many there are of each kind."""
    tickets = list(services.all_of(services.ticketing, "/v1/tickets"))
    by_cause = Counter(ticket["cause"] for ticket in tickets)
    assert [cause for cause, n in by_cause.items() if n > 1] == []
    escalated = [e["data"] for e in sent.good.values() if e["type"] == "complaint.escalated.v1"]
    expected = {f"topic:{data['topic_path']}" for data in escalated if "topic_path" in data}
    expected |= {f"complaint:{data['complaint_id']}" for data in escalated if "topic_path" not in data}
    expected |= {_cause_of(event) for event in breached}
    assert expected == expected & by_cause.keys(), sorted(expected - by_cause.keys())[:5]
    customers: dict[str, set[str]] = defaultdict(set)
    for event in sent.good.values():
        if event["type"] == "complaint.registered.v1":
            customers[f"topic:{event['data']['topic_path']}"].add(event["data"]["customer_id"])
    # a breach may be said, and have its ticket, while this is read
    may_be = {_cause_of(event) for event in breached_by_now()}
    for ticket in tickets:
        if ticket["cause"] not in expected | may_be:
            assert ticket["trigger"] == "batch", ticket
            assert len(customers[ticket["cause"]]) >= BATCH_LEAST_CUSTOMERS, ticket
    return Counter(ticket["cause"].partition(":")[0] for ticket in tickets)


def _cause_of(breach: Event) -> str:
    indicator, _, group = breach["subject"].partition("?")
    return f"indicator:{indicator}{{{group}}}" if group else f"indicator:{indicator}"


def while_all_is_still(bootstrap: str, compare: Callable[[], T]) -> T:
    """What a comparison of topics with services says. One that fails is made again where something was said since the one before: a
    breach whose time has run out, or whose parent is back, opens its ticket whenever that is, and kpi counts it a moment later."""

    def said_so_far() -> int:
        return sum(len(said(bootstrap, topic)) for topic in ("recoveries", "tickets"))

    before = -1
    for _ in range(ROUNDS):
        try:
            return compare()
        except AssertionError:
            if (now := said_so_far()) == before:
                raise
            before = now
    raise AssertionError(f"something was said during each of {ROUNDS} comparisons")


def check_own_events(services: Services, bootstrap: str) -> list[Event]:
    """What was said of recoveries and tickets is what there is, each once. Returns what was said."""
    own: list[Event] = []
    for topic, port, path, id_field in (
        ("recoveries", services.recovery, "/v1/recoveries", "recovery_id"),
        ("tickets", services.ticketing, "/v1/tickets", "ticket_id"),
    ):
        events = said(bootstrap, topic)
        shown = [item.get(id_field) or item["id"] for item in services.all_of(port, path)]
        assert sorted(event["data"][id_field] for event in events) == sorted(shown), topic
        own += events
    assert {event["type"] for event in own} == {"recovery.queued.v1", "ticket.opened.v1"}
    return own


def check_dead_letters(bootstrap: str, sent: Sent, frozen: Iterable[Frozen]) -> int:
    """Each poison record stands once in the dead letters of each consumer of its topic, unchanged, with reason and origin.

    Only what a process had in hand when it was frozen past its session may stand once more for that, the same to the byte: what
    it was writing arrives when it wakes, after the other has looked (ADR 0006).
    """
    counted = 0
    for topic, services in CONSUMERS.items():
        expected = Counter(sent.poison.get(topic, []))
        in_topic = Counter((key, value) for key, value, _ in read_topic(bootstrap, topic) if key.startswith("P"))
        assert in_topic == expected, f"{topic}: the poison is not in the topic as it was sent"
        for service in services:
            letters = list(read_topic(bootstrap, f"{topic}-{service}-dlq"))
            copies = Counter(
                (int(headers["x-error-partition"]), int(headers["x-error-offset"]), key, value) for key, value, headers in letters
            )
            origins = Counter(origin[:2] for origin in copies)
            assert max(origins.values(), default=1) == 1, f"{topic}-{service}-dlq: {origins.most_common(3)}"
            hands: list[dict[tuple[str, int], range]] = [one.in_hand for one in frozen if one.service == service]
            for (partition, offset, key, _), times in copies.items():
                woken = sum(offset in hand.get((topic, partition), ()) for hand in hands)
                if times > 1:
                    print(f"{topic}-{service}-dlq: {key} of {partition}/{offset} stands {times} times, {woken} of them may be late")
                assert times <= 1 + woken, f"{topic}-{service}-dlq: {key} of {partition}/{offset} {times} times; frozen: {hands}"
            found = Counter((key, value) for _, _, key, value in copies)
            assert found == expected, (topic, service, len(letters), sum(expected.values()), _difference(found, expected))
            for key, _, headers in letters:
                why = {name.removeprefix("x-error-"): value.decode() for name, value in headers.items()}
                stage, class_, sentence = REASONS[int(key[1:]) % POISON_KINDS]
                assert (why["topic"], why["consumer"], why["stage"], why["class"]) == (topic, service, stage, class_), (key, why)
                assert sentence in why["message"], (key, why)
            counted += len(copies)
    return counted


def _difference(found: Counter[Any], expected: Counter[Any]) -> list[Any]:
    return [(key, str(value)[:200]) for key, value in [*(found - expected), *(expected - found)]][:5]
