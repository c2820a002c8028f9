"""How things are shown: rows and domain objects as JSON-ready values. Phone numbers leave here masked."""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from closedloop.common.telemetry.logging import mask_phones
from closedloop.recovery.domain.recovery import Recovery
from closedloop.recovery.store.recoveries import Details

_CLAIMED: Final = (
    "recovery_id",
    "customer_id",
    "region",
    "segment",
    "customer_class",
    "product",
    "process",
    "channel",
    "dissatisfied_at",
    "deadline",
    "due_at",
    "attempts",
    "claim_number",
    "lease_until",
    "version",
)
_LISTED: Final = (
    *(name for name in _CLAIMED if name != "claim_number"),
    "status",
    "queued_at",
    "held_by",
    "available_at",
    "deferred_for",
    "first_contact_at",
    "first_reached_at",
    "outcome",
    "closed_at",
)
_SIGNAL: Final = ("source", "event_id", "at", "received_at", "kind", "region", "product", "process", "channel", "score", "reason")
_SIGNAL_REFERENCES: Final = ("complaint_id", "order_id", "contact_id", "campaign_id")
_CONTACT: Final = ("contact_id", "attempt", "agent", "at", "recorded_at", "reached", "result", "reason", "next_attempt_at")
_HISTORY: Final = ("at", "actor", "action", "from_status", "to_status", "why", "version")


def masked(phone: str | None) -> str | None:
    """The last two digits."""
    return None if phone is None else "***" + phone[-2:]


def claim(row: asyncpg.Record) -> dict[str, Any]:
    """A claimed recovery as its agent gets it."""
    return {name: row[name] for name in _CLAIMED} | {"phone": masked(row["phone"])}


def recovery(row: Mapping[str, Any] | asyncpg.Record) -> dict[str, Any]:
    """A recovery in a list."""
    return {name: row[name] for name in _LISTED} | {"phone": masked(row["phone"])}


def after(changed: Recovery, details: Details) -> dict[str, Any]:
    """A recovery after a step of its holder; `claim_number` too."""
    shown = {name: getattr(changed, name) for name in _LISTED if name not in _OF_DETAILS}
    return shown | {
        "claim_number": changed.claim_number,
        "customer_class": details.customer_class,
        "product": details.product,
        "process": details.process,
        "channel": details.channel,
        "queued_at": details.queued_at,
        "phone": masked(details.phone),
    }


_OF_DETAILS: Final = frozenset({"customer_class", "product", "process", "channel", "queued_at"})


def signal(row: asyncpg.Record) -> dict[str, Any]:
    """A signal; what the customer wrote may hold numbers."""
    return {name: row[name] for name in (*_SIGNAL, *_SIGNAL_REFERENCES)} | {"comment": _text(row["comment"])}


def contact(row: asyncpg.Record) -> dict[str, Any]:
    """A recorded call."""
    return {name: row[name] for name in _CONTACT} | {"note": _text(row["note"])}


def history(row: asyncpg.Record) -> dict[str, Any]:
    """Who, when, why, from what to what."""
    return {name: row[name] for name in _HISTORY}


def reservation(row: Mapping[str, Any] | asyncpg.Record) -> dict[str, Any]:
    """A planned contact with a customer."""
    return {name: row[name] for name in ("customer_id", "region", "purpose", "state", "at", "expires_at")} | {
        "reservation_id": row["contact_id"]
    }


def _text(text: str | None) -> str | None:
    return None if text is None else mask_phones(text)
