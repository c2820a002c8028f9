"""The catalogue of a past day, on real PostgreSQL: by the versions of then, where they still fit together."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest

from closedloop.common.postgres.pool import Connection, create_pool
from closedloop.kpi import saved_entries
from closedloop.kpi.catalogue_history import CatalogueHistory
from kpi.shipped import SHIPPED, WRITTEN

TODAY = date(2026, 11, 20)
EARLIER = TODAY - timedelta(days=40)
SHARE = "dissatisfied_share"
ENTRY: dict[str, Any] = next(entry for _, entry in WRITTEN if isinstance(entry, dict) and entry["id"] == SHARE)
HISTORY = CatalogueHistory(WRITTEN)


@pytest.fixture
async def connection(kpi_url: str) -> AsyncIterator[Connection]:
    pool = await create_pool(kpi_url, "kpi")
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def save(connection: Connection, version: int, days_ago: int, **change: Any) -> None:
    await saved_entries.insert(
        connection, SHARE, version, {**ENTRY, **change}, TODAY - timedelta(days=days_ago), None, "mei", "the year's goal"
    )


async def test_a_past_day_goes_by_the_versions_of_then(connection: Connection) -> None:
    await save(connection, 2, 60, target=4)
    await save(connection, 3, 30, target=3)
    then = (await HISTORY.on(connection, EARLIER, TODAY, SHIPPED)).get(SHARE)
    assert then is not None
    assert (then.version, then.target) == (2, 4)


async def test_a_day_since_which_nothing_changed_has_todays_catalogue(connection: Connection) -> None:
    await save(connection, 2, 60, target=4)
    assert await HISTORY.on(connection, EARLIER, TODAY, SHIPPED) is SHIPPED


async def test_versions_that_a_release_made_unfit_give_way_to_todays_and_it_is_logged(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await save(connection, 2, 60, numerator="a_word_that_went = 1")
    await save(connection, 3, 30, target=3)
    assert await HISTORY.on(connection, EARLIER, TODAY, SHIPPED) is SHIPPED
    told = capsys.readouterr().out
    assert "a past day goes by today's catalogue" in told
    assert EARLIER.isoformat() in told
    assert "a_word_that_went" in told


async def test_a_file_that_keeps_its_older_version_leaves_past_months_as_they_were(connection: Connection) -> None:
    changed = {**ENTRY, "version": 2, "valid_from": TODAY - timedelta(days=30), "target": 3}
    history = CatalogueHistory([*WRITTEN, ("own.yaml:2", changed)])
    current = history.of_files(TODAY)
    past = (await history.on(connection, EARLIER, TODAY, current)).get(SHARE)
    present = current.get(SHARE)
    assert past is not None and present is not None
    assert (past.version, past.target) == (1, ENTRY["target"])
    assert (present.version, present.target) == (2, 3)
