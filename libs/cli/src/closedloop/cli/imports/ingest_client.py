"""Sending to ingest: batches of rows, waited for as long as they are refused for the time being."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import msgspec

from closedloop.cli.problems import CommandFailed

LISTED_AT_MOST: Final = 100
"""How many rejections ingest lists in one answer; it counts all."""
ANSWER_TIMEOUT_S: Final = 60.0
_FOR_THE_TIME_BEING: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that ingest refused: its place in what was sent, and why."""

    index: int
    reason: str


class IngestClient:
    """`POST /v1/<kind>` as NDJSON. `waiting(why, seconds)` is called before each pause.

    Rows may be sent twice (after an answer that was lost): their ids make that harmless.
    """

    def __init__(
        self,
        url: str,
        token: str,
        kind: str,
        *,
        patience_s: float,
        waiting: Callable[[str, float], None] = lambda why, seconds: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._path = f"{self._url}/v1/{kind}"
        self._patience_s = patience_s
        self._waiting = waiting
        self._sleep = sleep
        self._answered = False
        # the environment's proxies are for the way out, not for a service beside us
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "User-Agent": "closedloop-import"},
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=10),
            trust_env=not _is_loopback(self._url),
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def send(self, lines: Sequence[bytes]) -> list[Rejection]:
        """Returns when every line is with ingest or refused by it. CommandFailed where there is no going on."""
        answer = self._post(b"\n".join(lines))
        body = _object(answer)
        if answer.status_code == 202 or (answer.status_code == 422 and "rejected" in body):
            listed = [_rejection(item) for item in body.get("rejected", [])]
            total = len(lines) - int(body["accepted"]) if "accepted" in body else int(body.get("rejected_total", len(lines)))
            return listed if len(listed) >= total else self._send_parts(lines, min(LISTED_AT_MOST, (len(lines) + 1) // 2))
        if answer.status_code in (413, 422) or (answer.status_code == 400 and len(lines) == 1):
            if len(lines) == 1:
                return [Rejection(0, _problem(body))]
            return self._send_parts(lines, (len(lines) + 1) // 2)
        raise self._failed(answer.status_code, body)

    def _send_parts(self, lines: Sequence[bytes], size: int) -> list[Rejection]:
        """The same in smaller requests, so that each refusal is told."""
        found: list[Rejection] = []
        for start in range(0, len(lines), size):
            part = self.send(lines[start : start + size])
            found.extend(Rejection(start + rejection.index, rejection.reason) for rejection in part)
        return found

    def _post(self, body: bytes) -> httpx2.Response:
        patience = self._patience_s
        pause = 0.5
        while True:
            try:
                answer = self._http.post(self._path, content=body)
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
                raise CommandFailed(f"'{self._url}' is not an address; --url takes one such as http://127.0.0.1:8101.") from None
            except (httpx2.TimeoutException, httpx2.TransportError) as error:
                why = "ingest does not answer"
                if not self._answered and isinstance(error, httpx2.ConnectError):
                    raise CommandFailed(
                        f"No ingest answers at {self._url}; start it (make run), or name its address with --url."
                    ) from None
                wait = pause = min(pause * 2, 15)
            else:
                self._answered = True
                if answer.status_code not in _FOR_THE_TIME_BEING:
                    return answer
                why = (
                    "ingest asks for a pause"
                    if answer.status_code == 429
                    else f"ingest is not able to take events ({answer.status_code})"
                )
                pause = min(pause * 2, 15)
                wait = _retry_after(answer) or pause
            if patience <= 0:
                raise CommandFailed(
                    f"{why[0].upper()}{why[1:]} for {self._patience_s:.0f} s; run the same command again later and it goes on here."
                )
            patience -= wait
            self._waiting(why, wait)
            self._sleep(wait)

    def _failed(self, status: int, body: dict[str, Any]) -> CommandFailed:
        again = " Run the same command again and it goes on here."
        if status == 401:
            return CommandFailed(
                f"ingest does not accept the token: {_problem(body)} On the local stack `make token ROLE=producer` prints one, "
                f"for --token or CLOSEDLOOP_TOKEN.{again}"
            )
        if status == 403:
            return CommandFailed(f"The token may not do this: {_problem(body)} A producer's token is needed (events:write).{again}")
        if status == 404:
            return CommandFailed(f"{self._url} is not an ingest service (404); name its address with --url.")
        return CommandFailed(f"ingest refused the request ({status}): {_problem(body)}")


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _rejection(item: dict[str, Any]) -> Rejection:
    return Rejection(int(item["index"]), _problem(item.get("problem", {})))


def _problem(body: dict[str, Any]) -> str:
    """A problem's own words; RFC 9457's fields, the most exact first."""
    return str(body.get("detail") or body.get("title") or "no reason was given")


def _retry_after(answer: httpx2.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return min(float(value), 300.0) if value.isdigit() else None


def _is_loopback(url: str) -> bool:
    return any(f"//{host}" in url for host in ("127.0.0.1", "localhost", "[::1]"))
