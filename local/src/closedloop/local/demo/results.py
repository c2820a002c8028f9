"""What the services make of the demo's events: where to look, and the tickets as they are opened."""

import http.client
import json
from http import HTTPStatus

from closedloop.local.addresses import Ports
from closedloop.local.issuer import Issuer

_PAGE = 50


def where_to_look(ports: Ports) -> str:
    """Lines that can be pasted as they are; the demo's clock may be behind, so nothing asks for `now`."""
    docs = [f"http://127.0.0.1:{port}/docs" for port in (ports.ticketing, ports.recovery, ports.kpi)]
    return "\n".join(
        [
            "Watch what the services make of it, in another window:",
            "",
            "  TOKEN=$(make -s token ROLE=admin)",
            *(
                f'  curl -s -H "Authorization: Bearer $TOKEN" "http://127.0.0.1:{port}{path}"   # {what}'
                for port, path, what in (
                    (ports.ticketing, "/v1/tickets?open=true", "root-cause tickets"),
                    (ports.recovery, "/v1/recoveries?limit=5", "whom to call first"),
                    (ports.kpi, "/v1/indicators/top_up_success_rate/series?window=1h", "an indicator, hour by hour"),
                )
            ),
            "",
            f"or in a browser, with the token under Authorize: {' '.join(docs)}",
            "",
        ]
    )


class Tickets:
    """The tickets that were opened since this object was made."""

    def __init__(self, port: int, issuer: Issuer) -> None:
        self._port, self._issuer = port, issuer
        self._known: set[str] = set()
        self.new()

    def new(self) -> list[str]:
        """A sentence for each that was not there when asked before; none while ticketing does not answer."""
        try:
            listed = self._listed()
        except (OSError, http.client.HTTPException, ValueError):
            return []
        new = [ticket for ticket in listed if ticket["id"] not in self._known]
        self._known.update(ticket["id"] for ticket in new)
        return [f"ticket: {t['title']}  http://127.0.0.1:{self._port}/v1/tickets/{t['id']}" for t in reversed(new)]

    def _listed(self) -> list[dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            token = self._issuer.mint("analyst", "demo")
            connection.request("GET", f"/v1/tickets?limit={_PAGE}", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            answer = response.read()
            items: list[dict[str, str]] = json.loads(answer)["items"] if response.status == HTTPStatus.OK else []
            return items
        finally:
            connection.close()
