"""Tickets as the caller may see them: regions that the token does not cover are left out."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from closedloop.common.auth.principal import Principal
from closedloop.ticketing import schemas
from closedloop.ticketing.domain.stages import allowed
from closedloop.ticketing.domain.ticket import Ticket

_LINE = tuple(name for name in schemas.TicketLine.model_fields if name not in ("regions", "allowed"))


def _line_of(ticket: Ticket, principal: Principal) -> dict[str, Any]:
    values = {name: getattr(ticket, name) for name in _LINE}
    return values | {"regions": [r for r in ticket.regions if principal.covers(r)], "allowed": allowed(ticket.stage)}


def line(ticket: Ticket, principal: Principal) -> schemas.TicketLine:
    """For lists."""
    return schemas.TicketLine(**_line_of(ticket, principal))


def view(
    ticket: Ticket,
    total: int,
    firings: Sequence[asyncpg.Record],
    effect: schemas.Effect | None,
    principal: Principal,
) -> schemas.TicketView:
    """With content and evidence."""
    return schemas.TicketView(
        **_line_of(ticket, principal),
        analysis=None if ticket.analysis is None else dict(ticket.analysis),
        improvement=None if ticket.improvement is None else dict(ticket.improvement),
        evaluation=None if ticket.evaluation is None else dict(ticket.evaluation),
        firings=total,
        evidence=[_firing(row, principal) for row in firings],
        effect=effect,
    )


def _firing(row: asyncpg.Record, principal: Principal) -> schemas.FiringView:
    values = {name: row[name] for name in schemas.FiringView.model_fields}
    values["regions"] = {region: n for region, n in row["regions"].items() if principal.covers(region)}
    values["complaints"] = [c for c in row["complaints"] if principal.covers(c["region"])]
    return schemas.FiringView(**values)


def history_line(row: asyncpg.Record) -> schemas.HistoryLine:
    """One line of history."""
    return schemas.HistoryLine(**{name: row[name] for name in schemas.HistoryLine.model_fields})
