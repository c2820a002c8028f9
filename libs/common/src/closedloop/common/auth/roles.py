"""Roles and their scopes, in one table. A token carries scopes; services check scopes, never roles."""

from typing import Final

EVENTS_WRITE: Final = "events:write"
INDICATORS_READ: Final = "indicators:read"
INDICATORS_MANAGE: Final = "indicators:manage"
MEASUREMENTS_WRITE: Final = "measurements:write"
REPORTS_READ: Final = "reports:read"
REPORTS_WRITE: Final = "reports:write"
TICKETS_READ: Final = "tickets:read"
TICKETS_WRITE: Final = "tickets:write"
RECOVERIES_READ: Final = "recoveries:read"
RECOVERIES_CLAIM: Final = "recoveries:claim"
PHONES_REVEAL: Final = "phones:reveal"
PHONES_REVEAL_ANY: Final = "phones:reveal-any"
CONTACTS_RESERVE: Final = "contacts:reserve"
OPERATIONS: Final = "operations:write"

ALL_SCOPES: Final = frozenset(
    {
        EVENTS_WRITE,
        INDICATORS_READ,
        INDICATORS_MANAGE,
        MEASUREMENTS_WRITE,
        REPORTS_READ,
        REPORTS_WRITE,
        TICKETS_READ,
        TICKETS_WRITE,
        RECOVERIES_READ,
        RECOVERIES_CLAIM,
        PHONES_REVEAL,
        PHONES_REVEAL_ANY,
        CONTACTS_RESERVE,
        OPERATIONS,
    }
)

SCOPES_BY_ROLE: Final[dict[str, frozenset[str]]] = {
    "producer": frozenset({EVENTS_WRITE}),
    "agent": frozenset({RECOVERIES_READ, RECOVERIES_CLAIM, PHONES_REVEAL}),
    "analyst": frozenset({INDICATORS_READ, REPORTS_READ, TICKETS_READ, RECOVERIES_READ}),
    "manager": frozenset(
        {
            INDICATORS_READ,
            INDICATORS_MANAGE,
            MEASUREMENTS_WRITE,
            REPORTS_READ,
            REPORTS_WRITE,
            TICKETS_READ,
            TICKETS_WRITE,
            RECOVERIES_READ,
            PHONES_REVEAL,
            PHONES_REVEAL_ANY,
            CONTACTS_RESERVE,
        }
    ),
    "admin": ALL_SCOPES,
}
