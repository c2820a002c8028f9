"""Changes of one resource take `If-Match`; `POST` takes `Idempotency-Key`."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Response
from pydantic import BaseModel

from closedloop.common.http.problems import BadRequest, InvalidRequest, PreconditionFailed, PreconditionRequired
from closedloop.common.postgres.pool import Connection, Database, Pool

KEYS_KEPT: Final = timedelta(days=1)
"""A client that repeats a request does so within minutes."""
IDEMPOTENCY_DDL: Final = """
CREATE TABLE idempotency_key (
    caller      text        NOT NULL,
    key         text        NOT NULL,
    fingerprint text        NOT NULL,   -- SHA-256 of route and body
    status      integer,
    body        jsonb,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (caller, key)
)"""


def etag(version: int) -> str:
    """The entity tag of a resource's version."""
    return f'"{version}"'


def set_etag(response: Response, version: int) -> None:
    """Tell the client which version it got."""
    response.headers["ETag"] = etag(version)


async def _if_match(if_match: Annotated[str | None, Header(description='the ETag that was read, such as "3"')] = None) -> int:
    if if_match is None:
        raise PreconditionRequired("Send `If-Match` with the ETag of the resource as you read it.")
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest('If-Match: must be one ETag as this service gave it, such as "3"')
    return int(text)


IfMatch = Annotated[int, Depends(_if_match)]
"""The version that the client changes; compare with `check_version`."""


def check_version(expected: int, current: int) -> None:
    """Raises PreconditionFailed where the resource moved on since the client read it."""
    if expected != current:
        raise PreconditionFailed(f"It is at version {current} now, the request was for {expected}. Read it again, then decide.")


IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=128, description="repeat it to repeat safely")
]


async def once(
    connection: Connection,
    key: str | None,
    caller: str,
    request: bytes,
    act: Callable[[], Awaitable[tuple[int, Any]]],
) -> tuple[int, Any]:
    """Run `act` in the open transaction once per caller and key; a repetition gets the first answer (status, JSON body).

    `request` identifies what was asked (route and body). A concurrent repetition waits for the first. Raises InvalidRequest
    where the key was used for another request.
    """
    if key is None:
        return await act()
    fingerprint = hashlib.sha256(request).hexdigest()
    inserted = await connection.fetchval(
        """INSERT INTO idempotency_key (caller, key, fingerprint) VALUES ($1, $2, $3)
           ON CONFLICT DO NOTHING RETURNING true""",
        caller,
        key,
        fingerprint,
    )
    if not inserted:
        known = await connection.fetchrow("SELECT * FROM idempotency_key WHERE caller = $1 AND key = $2", caller, key)
        if known is None or known["fingerprint"] != fingerprint:
            raise InvalidRequest("Idempotency-Key: was used for another request; take a new one for each")
        return known["status"], known["body"]
    status, body = await act()
    await connection.execute(
        "UPDATE idempotency_key SET status = $3, body = $4 WHERE caller = $1 AND key = $2", caller, key, status, body
    )
    return status, body


async def once_committed(
    pool: Pool,
    key: str | None,
    caller: str,
    what: str,
    body: BaseModel,
    act: Callable[[Connection], Awaitable[tuple[int, Any]]],
) -> tuple[int, Any]:
    """`once` in a transaction of its own, which `act` gets. `what` names the route with its ids and versions; with the body it is
    what was asked."""
    request = f"{what} {body.model_dump_json(by_alias=True)}".encode()
    async with pool.acquire() as connection, connection.transaction():
        return await once(connection, key, caller, request, lambda: act(connection))


async def forget_keys(database: Database, now: datetime) -> None:
    """Drop the keys of requests that nobody repeats any more, with their answers. `now`: the database's clock."""
    await database.execute("DELETE FROM idempotency_key WHERE created_at < $1", now - KEYS_KEPT)
