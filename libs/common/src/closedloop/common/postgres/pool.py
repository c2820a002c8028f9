"""Connections to a service's own schema (its role's search path), with server-side limits on everything that could hang."""

from typing import Any, TypeAlias

import asyncpg
import msgspec

from closedloop.common.telemetry import tracing

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Database: TypeAlias = "Connection | Pool"
COMMAND_TIMEOUT_S = 60.0
_JSONB_VERSION = b"\x01"


async def create_pool(url: str, service: str, *, max_size: int = 10) -> Pool:
    """A pool that connects on first use, so that a service starts (and says it is not ready) while PostgreSQL is away."""
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=max_size,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=10,
        max_inactive_connection_lifetime=300,
        init=_prepare,
        server_settings={
            "application_name": f"closedloop-{service}",
            "timezone": "UTC",
            "statement_timeout": "55000",
            "lock_timeout": "10000",
            # a frozen process must not hold the relay's lock or a partition's fence for long
            "idle_in_transaction_session_timeout": "15000",
        },
    )
    return pool


async def _prepare(connection: Connection) -> None:
    if tracing.is_on():
        connection.add_query_logger(tracing.query)
    await connection.set_type_codec("jsonb", encoder=_encode_jsonb, decoder=_decode_jsonb, schema="pg_catalog", format="binary")


def _encode_jsonb(value: Any) -> bytes:
    return _JSONB_VERSION + msgspec.json.encode(value)


def _decode_jsonb(raw: bytes) -> Any:
    return msgspec.json.decode(raw[1:])
