"""kpi's measurements of one indicator, over REST."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx2

from closedloop.cli.problems import CommandFailed

ANSWER_TIMEOUT_S: Final = 60.0
_LOCAL: Final = ("//127.0.0.1", "//localhost", "//[::1]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What kpi made of a report; `rejected` holds (index, problem)."""

    accepted: int
    unchanged: int
    rejected: list[tuple[int, str]]


class KpiClient:
    """Every failure is a CommandFailed. A report may be sent again: what is known already changes nothing."""

    def __init__(self, url: str, token: str, indicator: str) -> None:
        self._url = url
        self._path = f"{url.rstrip('/')}/v1/indicators/{quote(indicator, safe='')}"
        # the environment's proxies are for the way out, not for a service beside us
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {token}", "User-Agent": "closedloop-measurements"},
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=10),
            trust_env=not any(host in url for host in _LOCAL),
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def granularity(self) -> str:
        """The length of the periods for which the indicator is reported."""
        entry = self._ask("GET", "")
        if entry.get("reported_by") is None:
            raise CommandFailed(f"{entry['id']} is not reported, it is computed.")
        return str(entry["granularity"])

    def report(self, rows: Sequence[dict[str, str]], *, dry_run: bool) -> Answer:
        """Report the rows; all good ones are kept."""
        if not rows:
            return Answer(0, 0, [])
        body = self._ask("POST", "/measurements", json=list(rows), params={"dry_run": dry_run})
        rejected = [(int(one["index"]), str(one["problem"].get("detail", "is refused"))) for one in body["rejected"]]
        return Answer(body["accepted"], body["unchanged"], rejected)

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, self._path + path, **content)
            body = answer.json()
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise CommandFailed(f"'{self._url}' is not an address; --url takes one such as http://127.0.0.1:8102.") from None
        except (httpx2.HTTPError, ValueError):
            raise CommandFailed(f"No kpi answers at {self._url}; start it (make run), or name its address with --url.") from None
        if answer.is_success or "accepted" in body:
            return dict(body)
        raise CommandFailed(f"kpi refuses ({answer.status_code}): {body.get('detail') or body.get('title')}")
