"""What `make run` prints when everything is ready: where to find what, a token, and three lines to try."""

from datetime import timedelta
from typing import Final

from closedloop.local.stack import Stack

_WHAT = {
    "ingest": "events come in",
    "kpi": "indicators and reports",
    "ticketing": "root-cause tickets",
    "recovery": "the queue of customers to call",
}
_TO_TRY: Final = timedelta(hours=1)
"""How long the printed token is good: it stays in a terminal's history, and may be looked at over a shoulder."""


def guide(stack: Stack) -> str:
    """Plain text; its lines for a shell can be pasted as they are."""
    token = stack.issuer.mint("admin", "local-try", lifetime=_TO_TRY)
    lines = ["", "Everything is ready.", ""]
    lines += [f"  {s.name:<11}{s.url}/docs   {_WHAT.get(s.name, '')}" for s in stack.services]
    lines += [
        "",
        f"  Kafka      {stack.bootstrap}",
        f"  settings   {stack.var / 'env'}   (for the closedloop command: set -a; . {stack.var / 'env'}; set +a)",
        f"  logs       {stack.var / 'log'}/*.log",
        "",
        "A token that may do everything for an hour, then try it (others: make token ROLE=producer|agent|analyst|manager|admin):",
        "",
        f"  TOKEN={token}",
        "",
        f'  curl -s {stack.url("ingest")}/v1/evaluations -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" '
        '-d \'{"customer_id": "C0000123", "region": "NJ", "kind": "sms_rating", "score": 2, "contact_id": "call-1", '
        '"occurred_at": "\'$(date -u +%FT%TZ)\'"}\'',
        f'  curl -s {stack.url("recovery")}/v1/recoveries -H "Authorization: Bearer $TOKEN"',
        f'  curl -s {stack.url("kpi")}/v1/indicators -H "Authorization: Bearer $TOKEN"',
        "",
        "Ctrl-C stops everything; what came in is kept in " + str(stack.var) + ".",
    ]
    return "\n".join(lines)
