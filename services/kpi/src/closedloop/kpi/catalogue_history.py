"""The catalogue of a day: the files and what was saved over REST are one history."""

import asyncio
from collections.abc import Sequence
from datetime import date

import structlog

from closedloop.common.postgres.pool import Connection
from closedloop.kpi import saved_entries
from closedloop.kpi.catalogue_files import CatalogueRefused, catalogue_of
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.versions import Written, in_force

log = structlog.get_logger()


class CatalogueHistory:
    """Of the files only what they say now is known, and holds on every day; of what was saved, every version."""

    def __init__(self, files: Sequence[Written]) -> None:
        self._files = files

    def of_files(self) -> Catalogue:
        """The files alone. Raises CatalogueRefused where they have problems."""
        return catalogue_of(self._files)

    async def entries(self, connection: Connection, day: date) -> list[Written]:
        """What is written and valid on a day."""
        return in_force(self._files, await saved_entries.read_all(connection), day)

    async def on(self, connection: Connection, day: date, today: date, current: Catalogue) -> Catalogue:
        """The catalogue of a day, which is `current` where nothing has changed since. That is said too where the versions of then
        do not fit together: a release may have changed the files under them."""
        saved = await saved_entries.read_all(connection)
        written = in_force(self._files, saved, day)
        if written == in_force(self._files, saved, today):
            return current
        try:
            return await asyncio.to_thread(catalogue_of, written)
        except CatalogueRefused as refused:
            log.error("a past day goes by today's catalogue", day=day.isoformat(), problems=refused.problems)
            return current
