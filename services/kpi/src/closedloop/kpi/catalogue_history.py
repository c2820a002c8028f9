"""The catalogue of a day, what is counted beside it, and what may be saved: files and REST are one history."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import structlog

from closedloop.common.postgres.pool import Connection
from closedloop.kpi import saved_entries
from closedloop.kpi.catalogue_files import CatalogueRefused, catalogue_of, checked
from closedloop.kpi.domain.catalogue import Catalogue
from closedloop.kpi.domain.versions import Saved, Written, days_of_change, in_force, known_since, version_of

log = structlog.get_logger()
LATE: Final = timedelta(days=35)
"""So long topics keep records."""


class CatalogueHistory:
    """Every version that stands in the files or was saved. What a file no longer says is not known."""

    def __init__(self, files: Sequence[Written]) -> None:
        self._files = files
        self.is_dated: Final = any(isinstance(entry, Mapping) and "valid_from" in entry for _, entry in files)
        """Whether the files alone say different things on different days."""

    def of_files(self, day: date) -> Catalogue:
        """What of the files is in force on a day. Raises CatalogueRefused where that has problems."""
        return self._of(day, ())

    async def of(self, connection: Connection, day: date) -> Catalogue:
        """What is in force on a day, and beside it the formulas that are counted for other days. Raises CatalogueRefused."""
        return await asyncio.to_thread(self._of, day, await saved_entries.read_all(connection))

    def _of(self, day: date, saved: Sequence[Saved]) -> Catalogue:
        """A formula is counted from when it is known, so that it is whole on its first day, and for as long after its last one as a
        topic keeps records: what comes late finds it."""
        written = in_force(self._files, saved, day)
        beside = [one for one in known_since(self._files, saved, day - LATE) if one not in written]
        return catalogue_of(written, beside)

    def in_files(self, indicator_id: str) -> list[Written]:
        """The versions of an indicator that stand in files, the newest first."""
        own = [written for written in self._files if version_of(written)[0] == indicator_id]
        return sorted(own, key=lambda written: version_of(written)[1], reverse=True)

    async def entries(self, connection: Connection, day: date) -> list[Written]:
        """What is written and valid on a day."""
        return in_force(self._files, await saved_entries.read_all(connection), day)

    async def beside(self, connection: Connection, name: str, entries: list[Written], day: date) -> None:
        """Raises CatalogueRefused where the service would not start on one more file, in place of the operator's of that name where
        there is one; or where what was saved does not fit together with it, today or later."""
        others = [one for one in self._files if not one[0].startswith(f"{name}:")]
        await asyncio.to_thread(self._check, [*others, *entries], await saved_entries.read_all(connection), day)

    def _check(self, files: list[Written], saved: Sequence[Saved], day: date) -> None:
        checked(files, (), day)
        for other in (day, *days_of_change(files, saved, day)):
            if problems := _problems(files, saved, other):
                raise CatalogueRefused(problems)

    async def check(self, connection: Connection, wanted: Saved) -> None:
        """Raises CatalogueRefused where the day's catalogue, or that of a later day, does not fit together with what is to be
        saved, and does without it."""
        saved = await saved_entries.read_all(connection)
        days = (wanted.valid_from, *days_of_change(self._files, saved, wanted.valid_from))
        await asyncio.to_thread(self._check_days, saved, wanted, days)

    def _check_days(self, saved: Sequence[Saved], wanted: Saved, days: Sequence[date]) -> None:
        for day in days:
            problems = _problems(self._files, [*saved, wanted], day)
            # what did not fit before must not keep anybody from repairing it
            if problems and not _problems(self._files, saved, day):
                raise CatalogueRefused(problems)

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


def _problems(files: Sequence[Written], saved: Sequence[Saved], day: date) -> list[str]:
    """Why the versions of a day do not fit together."""
    try:
        catalogue_of(in_force(files, saved, day))
    except CatalogueRefused as refused:
        return [f"{problem} (from {day} on)" for problem in refused.problems]
    return []
