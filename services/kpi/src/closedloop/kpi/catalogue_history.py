"""The catalogue of a day: the files and what was saved over REST are one history."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import structlog

from closedloop.common.postgres.pool import Connection
from closedloop.kpi import saved_entries
from closedloop.kpi.catalogue_files import CatalogueRefused, catalogue_of
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.versions import Written, in_force, version_of

log = structlog.get_logger()


class CatalogueHistory:
    """Every version that stands in the files or was saved. What a file no longer says is not known."""

    def __init__(self, files: Sequence[Written]) -> None:
        self._files = files
        self.is_dated: Final = any(isinstance(entry, Mapping) and "valid_from" in entry for _, entry in files)
        """Whether the files alone say different things on different days."""

    def of_files(self, day: date) -> Catalogue:
        """What of the files is in force on a day. Raises CatalogueRefused where that has problems."""
        return catalogue_of(in_force(self._files, (), day))

    def in_files(self, indicator_id: str) -> list[Written]:
        """The versions of an indicator that stand in files, the newest first."""
        own = [written for written in self._files if version_of(written)[0] == indicator_id]
        return sorted(own, key=lambda written: version_of(written)[1], reverse=True)

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
