"""What Java's HttpClient sends: an offer of HTTP/2 with the first request. Its body arrives, and so does what follows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from closedloop.common.http.protocol import HttpProtocol

OFFER = b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
WITH_LENGTH = b"POST /a?b=%20c HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /a?b=%20c HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
PLAIN = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    body = (await request.body()).decode()
    offered = sorted(set(request.headers.keys()) & {"upgrade", "http2-settings", "connection"})
    await PlainTextResponse(f"<{request.method} {request.url.path}?{request.url.query} {body!r} {offered}>")(scope, receive, send)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(echo, port=0, http=HttpProtocol, ws="none", lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def answered(port: int, *parts: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        with contextlib.suppress(TimeoutError):  # so that the parts come apart
            await asyncio.wait_for(asyncio.Event().wait(), 0.02)
    text = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return text.decode()


@pytest.mark.parametrize("request_bytes", [WITH_LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_the_body_arrives_however_it_is_cut_and_the_connection_goes_on(port: int, request_bytes: bytes) -> None:
    end_of_headers = request_bytes.index(b"\r\n\r\n") + 4
    for cut in (0, 1, 30, end_of_headers - 2, end_of_headers, end_of_headers + 2, len(request_bytes)):
        text = await answered(port, request_bytes[:cut], request_bytes[cut:] + PLAIN)
        assert "<POST /a?b=%20c 'hello' []>" in text, cut
        assert "<GET /next? '' ['connection']>" in text, cut
        assert text.count("HTTP/1.1 200") == 2


async def test_a_later_request_may_make_the_offer_too(port: int) -> None:
    text = await answered(port, WITH_LENGTH, WITH_LENGTH, CHUNKED + PLAIN)
    assert text.count("<POST /a?b=%20c 'hello' []>") == 3 and "<GET /next?" in text


async def test_what_is_no_http_is_refused(port: int) -> None:
    for wrong in (
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + OFFER + b"Content-Length: x\r\n\r\n",
    ):
        assert (await answered(port, wrong)).startswith("HTTP/1.1 400")
