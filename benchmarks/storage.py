"""What a million events take on disk: in Kafka's topics, in each service's tables, in PostgreSQL's log, measured on the real stack.

The events are those of the fault tests: 60 % evaluations, 25 % complaints, 15 % orders, 350 to 400 bytes of JSON, many customers,
spread over two hours, sent over REST so many at a time; each partition's share of that is compressed as one. A larger share than in
a calm day is dissatisfied and complains, so what the services keep of it (recoveries, complaints) is told per row as well.

    python benchmarks/storage.py [--events 100000] [--batch 500]
"""

import argparse
import http.client
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from closedloop.local.addresses import Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from deploy.watching import CONSUMING, caught_up, query
from faults.evidence import wait_until
from faults.traffic import events

MB = 1e6
CALM_S = 12
"""Compaction looks every 5 s."""
SMALLEST_MB = 0.5


def main() -> None:
    """Print bytes per million events."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=500, help="events a request")
    options = parser.parse_args()
    count = options.events
    with temporary_folder() as folder, Stack(folder, Ports.free()) as stack:
        log_before = log_position(stack)
        raw = send(stack, count, options.batch)
        wait_until(lambda: caught_up(stack), 300, "all was read and said")
        log_bytes = log_position(stack) - log_before
        time.sleep(CALM_S)
        per_million = 1e6 / count / MB
        print(f"MB per million events, from {count}, {options.batch} a request (as JSON: {raw * per_million:.0f} MB)")
        for topic, nbytes in kafka_bytes(folder / "kafka").items():
            print(f"  Kafka, one copy, zstd   {topic:<32} {nbytes * per_million:8.1f}")
        for service in CONSUMING:
            for table, nbytes, rows in tables(stack, service):
                if nbytes * per_million >= SMALLEST_MB:
                    a_row = f"{nbytes / rows:6.0f} bytes a row, {rows / count * 1e6:12,.0f} rows" if rows else ""
                    print(f"  PostgreSQL, with index  {service + '.' + table:<32} {nbytes * per_million:8.1f}   {a_row}")
        for kind, nbytes, counted in query(stack.database_url("kpi"), SEGMENTS):
            an_event = f"{nbytes / counted:6.1f} bytes an event"
            print(f"  of these                kpi, {kind:<27} {int(nbytes) * per_million:8.1f}   {an_event}")
        print(f"  PostgreSQL's log (WAL)  {'written while they came':<32} {log_bytes * per_million:8.1f}")


SEGMENTS = "SELECT kind, sum(octet_length(data))::bigint, sum(events)::bigint FROM segment GROUP BY kind"


def send(stack: Stack, count: int, size: int) -> int:
    """Over REST; how many bytes of JSON."""
    stream = events(1)
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports.of("ingest"), timeout=60)
    headers = {"Authorization": f"Bearer {stack.token('admin')}", "Content-Type": "application/cloudevents-batch+json"}
    raw = 0
    for batch in batches(stream, count, size):
        body = json.dumps(batch, ensure_ascii=False).encode()
        raw += len(body)
        connection.request("POST", "/v1/events", body, headers)
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 202, answer
    return raw


def batches(stream: Iterator[dict[str, Any]], count: int, size: int) -> Iterator[list[dict[str, Any]]]:
    """So many events in requests."""
    for first in range(0, count, size):
        yield list(islice(stream, min(size, count - first)))


def kafka_bytes(folder: Path) -> dict[str, int]:
    """Topic → bytes of its records, on this one broker."""
    found: dict[str, int] = {}
    for log in folder.rglob("*.log"):
        topic, _, partition = log.parent.name.rpartition("-")
        if partition.isdigit() and not topic.startswith("__") and log.stat().st_size:
            found[topic] = found.get(topic, 0) + log.stat().st_size
    return dict(sorted(found.items()))


def tables(stack: Stack, service: str) -> list[tuple[str, int, int]]:
    """(table, bytes with its indexes, rows), largest first."""
    names = query(
        stack.admin_url,
        f"""SELECT relname, pg_total_relation_size(oid) FROM pg_class
            WHERE relnamespace = '{service}'::regnamespace AND relkind = 'r' ORDER BY 2 DESC""",
    )
    return [(name, size, query(stack.admin_url, f'SELECT count(*) FROM {service}."{name}"')[0][0]) for name, size in names]


def log_position(stack: Stack) -> int:
    """Bytes of PostgreSQL's log since its beginning."""
    return int(query(stack.admin_url, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")[0][0])


if __name__ == "__main__":
    main()
