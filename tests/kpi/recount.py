"""Events with all that goes wrong on the way, and what must come out: a plain recomputation that imports nothing of ours.

Evaluations of two hours; one in ten is sent again, at once or much later, one in ten happened a day before the others.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

REGIONS = [f"R{n:02d}" for n in range(13)]
PRODUCTS = ("broadband", "leased_line", "mobile", "iptv", "cloud", "landline")
CHANNELS = ("hotline", "business_hall", "web", "app", "sms", "field", "partner", "kiosk")
SPAN_S = 7200
AGAIN = LATE = 0.1
REMEMBERED = 200_000

Group = tuple[str, str, str, int]
"""Region, product, channel, minute since 1970."""


def events(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(customer, value) of so many records, in the order of sending."""
    chance = random.Random(seed)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=SPAN_S)
    sent: list[tuple[str, bytes]] = []
    for number in range(count):
        if sent and chance.random() < AGAIN:
            yield chance.choice(sent[-100:] if chance.random() < 0.5 else sent)
            continue
        at = start + timedelta(seconds=chance.randrange(SPAN_S), days=-1 if chance.random() < LATE else 0)
        customer = f"C{chance.randrange(1_000_000):07d}"
        data = {
            "customer_id": customer,
            "region": chance.choice(REGIONS),
            "product": chance.choice(PRODUCTS),
            "channel": chance.choice(CHANNELS),
            "kind": "survey",
            "score": chance.randrange(1, 11),
        }
        event = {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "/csp/nanjing",
            "type": "evaluation.submitted.v1",
            "time": at.isoformat(),
            "data": data,
        }
        item = customer, json.dumps(event, separators=(",", ":")).encode()
        if len(sent) < REMEMBERED:
            sent.append(item)
        else:
            sent[number % REMEMBERED] = item
        yield item


class Recount:
    """Count, sum and low count (6 or less) of the scores, per group; each event once."""

    def __init__(self) -> None:
        self.groups: dict[Group, list[int]] = defaultdict(lambda: [0, 0, 0])
        self.repeated = self.late = 0
        self._seen: set[str] = set()
        self._today = (datetime.now(UTC) - timedelta(seconds=2 * SPAN_S)).timestamp()

    def take(self, value: bytes) -> None:
        """One record."""
        event = json.loads(value)
        if event["id"] in self._seen:
            self.repeated += 1
            return
        self._seen.add(event["id"])
        at, data = datetime.fromisoformat(event["time"]).timestamp(), event["data"]
        self.late += at < self._today
        sums = self.groups[data["region"], data["product"], data["channel"], int(at // 60)]
        sums[0] += 1
        sums[1] += data["score"]
        sums[2] += data["score"] <= 6
