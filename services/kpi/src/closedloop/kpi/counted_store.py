"""SQL of what is counted: since when each column of a topic's buckets is added up."""

from collections.abc import Iterable

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.counted import Counted


async def note(connection: Connection, columns: Iterable[tuple[str, str]]) -> None:
    """From this transaction on these (topic, column) are counted, and no others. What is noted first of all, in a schema that is
    new or comes from a version without this table, is taken for as old as the topic's buckets; what was left out for a time
    begins anew."""
    pairs = sorted(columns)  # every process locks the rows in one order
    topics, names = [topic for topic, _ in pairs], [name for _, name in pairs]
    await connection.execute(
        """UPDATE counted SET until = clock_timestamp() WHERE until IS NULL
           AND (topic, name) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))""",
        topics,
        names,
    )
    await connection.execute(
        """INSERT INTO counted (topic, name, since)
           SELECT new.topic, new.name, CASE WHEN EXISTS (SELECT FROM counted)
               AND EXISTS (SELECT FROM segment AS s WHERE s.topic = new.topic AND s.kind <> 'seen') THEN clock_timestamp() END
           FROM unnest($1::text[], $2::text[]) AS new (topic, name)
           ON CONFLICT (topic, name) DO UPDATE SET since = clock_timestamp(), until = NULL WHERE counted.until IS NOT NULL""",
        topics,
        names,
    )


async def read(connection: Connection) -> Counted:
    """Of all topics."""
    return {(row["topic"], row["name"]): row["since"] for row in await connection.fetch("SELECT topic, name, since FROM counted")}
