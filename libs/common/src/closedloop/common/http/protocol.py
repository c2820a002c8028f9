"""HTTP/1.1 as uvicorn speaks it with httptools, but for one thing: an offer to change to HTTP/2 costs no request its body.

Java's HttpClient and what is built on it make that offer (`Upgrade: h2c`) with the first request of a connection. HTTP lets a
server pass over it; httptools however stops at the end of the headers, and uvicorn 0.54 hands on an empty body
(Kludex/uvicorn#2722).
"""

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})


class HttpProtocol(HttpToolsProtocol):
    """One connection. What it asks to be upgraded is read again without the offer; nothing is ever upgraded."""

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("CONNECT is not served here.")
                return
            request = self._without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(request + data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _should_upgrade(self) -> bool:
        # asked while headers are parsed: that request is not begun, as it is parsed again
        return True

    def _without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in map(bytes.strip, value.split(b",")) if token.lower() not in _OFFER]
                lines += [b"connection: " + b", ".join(kept)] if kept else []
            elif name not in _OFFER:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])
