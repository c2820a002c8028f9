"""What a service's role can see of PostgreSQL's room, for Prometheus."""

from typing import Final

from closedloop.common.postgres.pool import Pool
from closedloop.common.telemetry import metrics

EVERY_S: Final = 30.0


class Figures:
    """The connections and the sizes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        metrics.POOL_MAX.set(pool.get_max_size())
        metrics.POOL_USED.set_function(lambda: pool.get_size() - pool.get_idle_size())

    async def measure(self) -> None:
        """Ask the server."""
        row = await self._pool.fetchrow(
            """SELECT (SELECT sum(numbackends) FROM pg_stat_database) AS connections,
                      current_setting('max_connections')::int AS connections_max,
                      pg_database_size(current_database()) AS database_bytes,
                      (SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
                       WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'm')) AS schema_bytes"""
        )
        assert row is not None  # noqa: S101 (a SELECT without FROM)
        metrics.CONNECTIONS.set(int(row["connections"]))
        metrics.CONNECTIONS_MAX.set(row["connections_max"])
        metrics.DATABASE_BYTES.set(row["database_bytes"])
        metrics.SCHEMA_BYTES.set(int(row["schema_bytes"]))
