"""Agents at work over plain sockets: `python benchmarks/claim_load.py PORT TOKENS_FILE MODE AMOUNT`, one line of JSON.

MODE `warm`: every token reads once, so that the service knows it. AMOUNT: connections.
MODE `once`: every token claims once, AMOUNT connections at a time.
MODE `cycle`: every token is an agent on its own connection who claims and gives back for AMOUNT seconds.
`doubles` counts customers who were given to an agent while another held them.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

CLAIM = b"/v1/claims"


class Desk:
    """What all agents share: who is held, how long claims took."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.doubles = 0
        self.latencies: list[float] = []
        self.failures: list[str] = []

    def given(self, recovery_id: str) -> None:
        self.doubles += recovery_id in self.held
        self.held.add(recovery_id)


class Line(asyncio.Protocol):
    """One connection; `ask` sends a request and gives the answer's status and body."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # a TCP connection's

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return
        self._buffer = b""
        answer, self._answer = self._answer, None
        if not answer.done():  # whoever asked may have been cancelled, at the end
            answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the service closed the connection"))

    async def ask(self, method: bytes, path: bytes, token: bytes, body: bytes = b"") -> tuple[int, bytes]:
        self._answer = asyncio.get_running_loop().create_future()
        kind = b"content-type: application/json\r\n" if body else b""
        self._transport.write(
            b"%b %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (method, path, token, kind, len(body), body)
        )
        return await self._answer


async def _connect(port: int) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


async def _claim(desk: Desk, line: Line, token: bytes) -> dict[str, Any] | None:
    started = time.perf_counter()
    status, body = await line.ask(b"POST", CLAIM, token)
    desk.latencies.append(time.perf_counter() - started)
    if status != 200:
        desk.failures.append(f"{status} {body.decode()[:200]}")
        return None
    claim: dict[str, Any] = msgspec.json.decode(body)
    desk.given(str(claim["recovery_id"]))
    return claim


async def _all(connections: int, port: int, tokens: list[bytes], act: Callable[[Line, bytes], Awaitable[object]]) -> None:
    left: Iterator[bytes] = iter(tokens)

    async def work() -> None:
        line = await _connect(port)
        for token in left:
            await act(line, token)

    await asyncio.gather(*(work() for _ in range(connections)))


async def warm(port: int, tokens: list[bytes], connections: int) -> dict[str, object]:
    await _all(connections, port, tokens, lambda line, token: line.ask(b"GET", b"/v1/recoveries?limit=1", token))
    return {"failures": 0}


async def once(port: int, tokens: list[bytes], connections: int) -> dict[str, object]:
    desk = Desk()
    started = time.perf_counter()
    await _all(connections, port, tokens, lambda line, token: _claim(desk, line, token))
    return _told(desk, time.perf_counter() - started)


async def cycle(port: int, tokens: list[bytes], seconds: int) -> dict[str, object]:
    desk = Desk()
    ending = False

    async def agent(token: bytes) -> None:
        line = await _connect(port)
        while not ending:
            claim = await _claim(desk, line, token)
            if claim is None:
                continue
            desk.held.discard(str(claim["recovery_id"]))
            path = f"/v1/recoveries/{claim['recovery_id']}/release".encode()
            status, body = await line.ask(b"POST", path, token, b'{"claim_number": %d}' % claim["claim_number"])
            if status != 200:
                desk.failures.append(f"{status} {body.decode()[:200]}")

    agents = [asyncio.create_task(agent(token)) for token in tokens]
    await asyncio.sleep(1)  # tokens are verified, statements prepared
    desk.latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    ending = True
    told = _told(desk, time.perf_counter() - started)
    await asyncio.gather(*agents)
    return told


def _told(desk: Desk, seconds: float) -> dict[str, object]:
    latencies = sorted(desk.latencies)
    return {
        "claims": len(latencies),
        "seconds": seconds,
        "doubles": desk.doubles,
        "failures": len(desk.failures),
        "first_failure": desk.failures[0] if desk.failures else None,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    port, file, mode, amount = sys.argv[1:]
    tokens = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[bytes])
    modes = {"warm": warm, "once": once, "cycle": cycle}
    print(json.dumps(uvloop.run(modes[mode](int(port), tokens, int(amount)))))
