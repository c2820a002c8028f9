"""A small fast HTTP client: many connections, each sends its next prepared request when the answer to the last one is there.

`python benchmarks/http_load.py PORT REQUESTS_FILE CONNECTIONS SECONDS` prints one line of JSON: answers, failures (anything
but 202), seconds, p50_ms, p99_ms. The file is a msgspec MessagePack list of whole requests, as bytes.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

WARM_UP_S = 1.0


class Load:
    """What all connections share."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._next = 0
        self.latencies: list[float] = []
        self.failures: list[bytes] = []
        self.ending = False

    def take(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # a TCP connection's
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 202"):
            self._load.failures.append(head + body)
        if self._load.ending:
            self.ended.set_result(None)
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self._load.failures.append(b"connection lost")
            self.ended.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.take())


async def run(port: int, requests: list[bytes], connections: int, seconds: float) -> dict[str, object]:
    """Load for so long after a second of warming up."""
    load = Load(requests)
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.sleep(WARM_UP_S)
    load.latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    latencies, took = sorted(load.latencies), time.perf_counter() - started
    load.ending = True
    await asyncio.wait([connection.ended for connection in opened], timeout=30)
    return {
        "answers": len(latencies),
        "seconds": took,
        "failures": len(load.failures),
        "first_failure": load.failures[0][-300:].decode(errors="replace") if load.failures else None,
        "p50_ms": latencies[len(latencies) // 2] * 1000 if latencies else None,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000 if latencies else None,
    }


if __name__ == "__main__":
    port, file, connections, seconds = sys.argv[1:]
    prepared = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[bytes])
    print(json.dumps(uvloop.run(run(int(port), prepared, int(connections), float(seconds)))))
