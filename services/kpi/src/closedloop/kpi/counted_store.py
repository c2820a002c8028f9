"""SQL of what is counted: since when each column of a topic's buckets is added up."""

from collections.abc import Iterable

from closedloop.common.postgres.pool import Connection
from closedloop.kpi.domain.counted import Counted


async def note(connection: Connection, columns: Iterable[tuple[str, str]]) -> None:
    """From this transaction on these (topic, column) are counted, where they were not before. What is noted first of all, in a
    schema that is new or comes from a version without this table, is taken for as old as the topic's buckets."""
    pairs = list(columns)
    await connection.execute(
        """INSERT INTO counted (topic, name, since)
           SELECT new.topic, new.name, CASE WHEN EXISTS (SELECT FROM counted)
               AND EXISTS (SELECT FROM segment AS s WHERE s.topic = new.topic AND s.kind <> 'seen') THEN clock_timestamp() END
           FROM unnest($1::text[], $2::text[]) AS new (topic, name) ON CONFLICT DO NOTHING""",
        [topic for topic, _ in pairs],
        [name for _, name in pairs],
    )


async def read(connection: Connection) -> Counted:
    """Of all topics."""
    return {(row["topic"], row["name"]): row["since"] for row in await connection.fetch("SELECT * FROM counted")}
