"""Reading a request's body within its limits: size, time, the total in hand, size after decompression."""

import asyncio
import time
import zlib
from typing import Any, Final

from starlette.types import Receive

from closedloop.common.http.problems import BadRequest, TooLarge, Unavailable
from closedloop.ingest import metrics
from closedloop.ingest.problems import Disconnected, TooSlow, Unsupported

_GZIP_WINDOW: Final = 31
_OFF_THE_LOOP: Final = 64 * 1024


class Bodies:
    """Reads bodies; together they never hold more than `max_held_bytes`."""

    def __init__(self, max_body_bytes: int, max_held_bytes: int, timeout_s: float, retry_after_s: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_held_bytes
        self._timeout_s = timeout_s
        self._retry_after_s = retry_after_s
        self._held = 0
        self.arriving: dict[Body, tuple[asyncio.Task[Any], float]] = {}
        metrics.HELD_BYTES.set_function(lambda: self._held)

    def body(self) -> "Body":
        """One request's body, held until its `with` block ends."""
        return Body(self)

    async def end_slow_ones(self) -> None:
        """Give up on bodies that take too long. Called every second: a timer for each request would cost it 4 µs."""
        now = time.monotonic()
        for body, (task, since) in list(self.arriving.items()):
            if now - since > self._timeout_s:
                body.too_slow = True
                task.cancel()

    def check_declared(self, content_length: bytes | None) -> None:
        """Raises TooLarge before anything is read."""
        if content_length is not None and content_length.isdigit() and int(content_length) > self._max_body_bytes:
            raise self.too_large()

    def too_large(self) -> TooLarge:
        """The limit, in words."""
        return TooLarge(f"The body is larger than {self._max_body_bytes} bytes; send less at once.")

    def hold(self, size: int) -> None:
        """Raises Unavailable where that would be too much at once."""
        if self._held + size > self._max_held_bytes:
            raise Unavailable(
                f"Bodies of {self._max_held_bytes} bytes are in hand, which is the limit. Nothing of this request was written.",
                self._retry_after_s,
            )
        self._held += size

    @property
    def limit(self) -> int:
        return self._max_body_bytes

    @property
    def timeout_s(self) -> float:
        return self._timeout_s


class Body:
    """One request's body."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held = 0
        self.too_slow = False

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.hold(-self.held)

    async def read(self, receive: Receive, content_encoding: bytes | None) -> bytes:
        """All of it, decompressed. Raises TooLarge, TooSlow, Unavailable, Unsupported, BadRequest, Disconnected."""
        arriving = self._bodies.arriving
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (ASGI applications run in tasks)
        arriving[self] = (task, time.monotonic())
        try:
            raw = await self._read(receive)
        except asyncio.CancelledError:
            if not self.too_slow:
                raise
            task.uncancel()
            raise TooSlow(f"The body did not arrive within {self._bodies.timeout_s:g} s; send less at once.") from None
        finally:
            del arriving[self]
        if content_encoding is None or content_encoding == b"identity":
            return raw
        if content_encoding.strip().lower() not in (b"gzip", b"x-gzip"):
            raise Unsupported("Content-Encoding: must be gzip or left out.")
        self._hold(self._bodies.limit)
        inflated = await asyncio.to_thread(self._inflate, raw) if len(raw) > _OFF_THE_LOOP else self._inflate(raw)
        self._give_back(self._bodies.limit - len(inflated))
        return inflated

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        part: bytes = message.get("body", b"")
        self._take(part)
        if message["type"] == "http.request" and not message.get("more_body", False):
            return part
        parts = [part]
        while message["type"] == "http.request" and message.get("more_body", False):
            message = await receive()
            parts.append(message.get("body", b""))
            self._take(parts[-1])
        if message["type"] != "http.request":
            raise Disconnected
        return b"".join(parts)

    def _take(self, part: bytes) -> None:
        if self.held + len(part) > self._bodies.limit:
            raise self._bodies.too_large()
        self._hold(len(part))

    def _hold(self, size: int) -> None:
        self._bodies.hold(size)
        self.held += size

    def _give_back(self, size: int) -> None:
        self._bodies.hold(-size)
        self.held -= size

    def _inflate(self, raw: bytes) -> bytes:
        limit = self._bodies.limit
        out: list[bytes] = []
        size = 0
        while raw:  # a gzip file may have several members
            member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                # one byte more than allowed is enough to know: a bomb is never unpacked
                out.append(member.decompress(raw, limit - size + 1))
            except zlib.error:
                raise BadRequest("The body is not gzip, as its Content-Encoding says.") from None
            size += len(out[-1])
            if size > limit:
                raise self._bodies.too_large()
            if not member.eof:
                raise BadRequest("The gzip body ends too early.")
            raw = member.unused_data
        return b"".join(out)
