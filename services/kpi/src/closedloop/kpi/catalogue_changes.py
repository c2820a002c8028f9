"""Use cases: an operator tries, saves or retires an entry of the catalogue over REST."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from closedloop.common.auth.principal import Principal
from closedloop.common.http.preconditions import check_version, once_committed
from closedloop.common.http.problems import Conflict, Forbidden, InvalidRequest, NotFound
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import saved_entries
from closedloop.kpi.catalogue_files import SHIPPED_NAMES, CatalogueRefused, catalogue_of, read_text
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain.backtest import MOST_SERIES, TooManySeries
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.entries import read_entry
from closedloop.kpi.domain.versions import Saved, Written, first_day, version_of
from closedloop.kpi.domain.versions import in_force as in_force_on
from closedloop.kpi.domain.windows import MOST_POINTS, TooManyPoints
from closedloop.kpi.effects import Effect, Effects, is_counted
from closedloop.kpi.entry_schemas import EffectView, FileEffects, NewEntry, Versions
from closedloop.kpi.live import Live, LiveProcessor

SETTLED_IN: Final = timedelta(minutes=2)
"""Transactions that began before an entry was saved count by the catalogue before; all of them are over by then."""
PLACE: Final = "entry"
MOST_TRIED: Final = 20
"""So many changed entries of a file are tried at once; those that must be read again of one topic are read together."""
Act = Callable[[Connection], Awaitable[tuple[int, Any]]]


class CatalogueChanges:
    """Saved entries stand beside those of the files; the highest version counts."""

    def __init__(self, pool: Pool, live: Live, history: CatalogueHistory, effects: Effects, zone: ZoneInfo) -> None:
        self._pool = pool
        self._live = live
        self._history = history
        self._effects = effects
        self._zone = zone

    async def versions(self, indicator_id: str) -> Versions:
        """Raises NotFound where no such indicator ever was."""
        async with self._pool.acquire() as connection:
            saved = await saved_entries.read_versions(connection, indicator_id)
        written = self._history.in_files(indicator_id)
        if not saved and not written:
            raise NotFound(f"No indicator has the id {indicator_id[:64]!r}.")
        return Versions.of(indicator_id, saved, written)

    async def effect(self, body: NewEntry, indicator_id: str, principal: Principal) -> EffectView:
        """What it would have said of last month. Raises InvalidRequest with every problem of the entry."""
        _covers_all(principal)
        in_force, written = await self._today()
        indicator = _indicator(body.entry, indicator_id)
        wanted = _with(written, [(PLACE, body.entry)], [indicator.id])
        [effect] = await self._tried([indicator], wanted, in_force)
        return EffectView.of(indicator.id, effect)

    async def effects_of_file(self, text: bytes, name: str, principal: Principal) -> FileEffects:
        """What a file would have said of last month, as if its highest versions were in force. Raises InvalidRequest with every
        problem that would keep the service from starting on it, or a version from ever coming into force."""
        _covers_all(principal)
        if name in SHIPPED_NAMES:
            raise InvalidRequest(f"name: {name} is a shipped file's; give your own another name", field="name")
        entries, problems = await asyncio.to_thread(read_text, name, text)
        if problems:
            raise _refused(problems)
        in_force, written = await self._today()
        try:
            async with self._pool.acquire() as connection:
                await self._history.beside(connection, name, entries, datetime.now(self._zone).date())
        except CatalogueRefused as refused:
            raise _refused(refused.problems) from None
        newest = in_force_on(entries, (), date.max)
        wanted = _with(written, newest, [id_ for id_, _ in map(version_of, newest)])
        known = {version_of(one)[0]: _undated(one) for one in written}
        differ = [one for one in newest if known.get(version_of(one)[0]) != _undated(one)]
        await self._check_above_saved(differ)
        changed = {version_of(one)[0] for one in differ}
        tried = [one for one in wanted.indicators if changed.intersection((one.id, *one.sources))]
        if len(tried) > MOST_TRIED:
            raise InvalidRequest(
                f"the file changes {len(tried)} entries; at most {MOST_TRIED} are tried at once, send a part of it"
            )
        effects = await self._tried(tried, wanted, in_force)
        return FileEffects(
            items=[EffectView.of(one.id, effect) for one, effect in zip(tried, effects, strict=True)],
            unchanged=sorted({version_of(one)[0] for one in newest} - changed),
        )

    async def _check_above_saved(self, entries: list[Written]) -> None:
        """Raises InvalidRequest where a version would never come into force, as a higher one was saved."""
        problems: list[str] = []
        async with self._pool.acquire() as connection:
            for place, entry in entries:
                id_, version = version_of((place, entry))
                saved = await saved_entries.read_versions(connection, id_)
                if saved and version <= saved[0].version:
                    told = f"version: {version} is not above {saved[0].version}, which was saved over REST"
                    problems.append(f"{place}: {id_}: {told}")
        if problems:
            raise _refused(problems)

    async def _tried(self, indicators: list[Indicator], wanted: Catalogue, in_force: Catalogue) -> list[Effect]:
        try:
            return await self._effects.of(indicators, wanted, in_force)
        except TooManySeries:
            raise InvalidRequest(f"by: tells more than {MOST_SERIES:,} series apart; name fewer dimensions", field="by") from None
        except TooManyPoints:
            raise InvalidRequest(f"dimensions: make more than {MOST_POINTS:,} figures; name fewer", field="dimensions") from None

    async def _today(self) -> tuple[Catalogue, list[Written]]:
        """The catalogue in force, and its entries as they are written."""
        async with self._pool.acquire() as connection:
            in_force = (await self._live.refresh(connection)).catalogue
            _, day = await saved_entries.latest(connection, self._zone.key)
            return in_force, await self._history.entries(connection, day)

    async def create(self, body: NewEntry, key: str | None, principal: Principal) -> tuple[int, Any]:
        """(status, body) of a new indicator's first version. Raises Conflict where the id is taken."""
        _covers_all(principal)
        indicator = _indicator(body.entry, None)

        async def act(connection: Connection) -> tuple[int, Any]:
            now = await saved_entries.lock(connection)
            if await self._version(connection, indicator.id):
                raise Conflict(f"{indicator.id} exists; PUT /v1/indicators/{indicator.id} saves its next version.")
            return 201, await self._save(connection, indicator.id, 0, body.entry, body.reason, now, principal)

        return await self._once("create", body, key, principal, act)

    async def change(
        self, indicator_id: str, body: NewEntry, version: int, key: str | None, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body) of the next version. Raises NotFound, PreconditionFailed."""
        _covers_all(principal)
        _indicator(body.entry, indicator_id)
        return await self._next(f"change {indicator_id} {version}", body, body.entry, indicator_id, version, key, principal)

    async def retire(
        self, indicator_id: str, reason: BaseModel, version: int, key: str | None, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body): it is not counted, stated or shown any more; its history stays. Raises NotFound, Conflict."""
        _covers_all(principal)
        return await self._next(f"retire {indicator_id} {version}", reason, None, indicator_id, version, key, principal)

    async def _next(
        self,
        what: str,
        body: Any,
        entry: Mapping[str, Any] | None,
        indicator_id: str,
        version: int,
        key: str | None,
        principal: Principal,
    ) -> tuple[int, Any]:
        async def act(connection: Connection) -> tuple[int, Any]:
            now = await saved_entries.lock(connection)
            current = await self._version(connection, indicator_id)
            if not current:
                raise NotFound(f"No indicator has the id {indicator_id[:64]!r}; POST /v1/indicators makes a new one.")
            check_version(version, current)
            return 200, await self._save(connection, indicator_id, current, entry, body.reason, now, principal)

        return await self._once(what, body, key, principal, act)

    async def _once(self, what: str, body: BaseModel, key: str | None, principal: Principal, act: Act) -> tuple[int, Any]:
        answer = await once_committed(self._pool, key, principal.subject, what, body, act)
        async with self._pool.acquire() as connection:
            await self._live.refresh(connection)
        return answer

    async def latest(self, indicator_id: str) -> int:
        """The highest version that is known of it, in force or not: what the next one is saved upon."""
        async with self._pool.acquire() as connection:
            return await self._version(connection, indicator_id)

    def _waiting(self, indicator_id: str, saved: list[Saved]) -> list[tuple[int, date]]:
        """(version, first day) of all that have one."""
        files = [(version_of(one)[1], first_day(one)) for one in self._history.in_files(indicator_id)]
        dated = [(version, first) for version, first in files if first is not None]
        return [*((one.version, one.valid_from) for one in saved), *dated]

    async def _version(self, connection: Connection, indicator_id: str) -> int:
        """The highest version that is in force or saved for later; 0 where there is none, or it was retired."""
        saved = await saved_entries.read_versions(connection, indicator_id)
        in_files = [version for _, version in map(version_of, self._history.in_files(indicator_id))]
        highest = max([*in_files, *(one.version for one in saved)], default=0)
        is_retired = bool(saved) and saved[0].entry is None and saved[0].version == highest
        return 0 if is_retired else highest

    async def _save(
        self,
        connection: Connection,
        indicator_id: str,
        current: int,
        entry: Mapping[str, Any] | None,
        reason: str,
        now: datetime,
        principal: Principal,
    ) -> dict[str, Any]:
        in_force = (await self._live.refresh(connection)).catalogue
        today = now.astimezone(self._zone).date()
        indicator = None if entry is None else _indicator(entry, indicator_id)
        valid_from = today if indicator is None or indicator.valid_from is None else indicator.valid_from
        if valid_from < today:
            raise InvalidRequest(f"entry: valid_from: {valid_from} is past; give today ({today}) or a later day", field="entry")
        written = await self._history.entries(connection, valid_from)
        wanted = _with(written, [] if entry is None else [(PLACE, entry)], [indicator_id])
        known = await saved_entries.read_versions(connection, indicator_id)
        version = max([current, *(one.version for one in known)]) + 1
        stored = None if entry is None else _undated((PLACE, entry))
        try:
            await self._history.check(
                connection, Saved(indicator_id, version, stored, valid_from, None, principal.subject, now, reason)
            )
        except CatalogueRefused as refused:
            raise _refused(refused.problems) from None
        missing = sorted(set(LiveProcessor.topics) - set(wanted.topics))
        if missing:
            raise Conflict(f"It is the last indicator that is computed from {missing[0]}; one must stay.")
        counted_from = None
        if isinstance(indicator, EventIndicator) and not is_counted(indicator, in_force):
            first = datetime.combine(valid_from, time(), self._zone)
            counted_from = max(first, now.replace(second=0, microsecond=0) + SETTLED_IN)
        await saved_entries.insert(connection, indicator_id, version, stored, valid_from, counted_from, principal.subject, reason)
        return {
            "id": indicator_id,
            "version": version,
            "valid_from": valid_from.isoformat(),
            "counted_from": None if counted_from is None else counted_from.isoformat(),
            "is_retired": entry is None,
            "never_in_force": sorted(
                other
                for other, first in self._waiting(indicator_id, known)
                if first > today and first >= valid_from and other < version
            ),
        }


def _indicator(entry: Mapping[str, Any], indicator_id: str | None) -> Indicator:
    """The entry by itself. Raises InvalidRequest with all its problems."""
    if "version" in entry:
        raise InvalidRequest("entry: version: is given by the service; leave it out", field="entry")
    indicator, problems = read_entry(entry, PLACE)
    if indicator is None:
        raise _refused(problems)
    if indicator_id is not None and indicator.id != indicator_id:
        raise InvalidRequest(f"entry: id: is {indicator.id!r}, and the path says {indicator_id[:64]!r}", field="entry")
    return indicator


def _with(written: list[Written], entries: list[Written], ids: Collection[str]) -> Catalogue:
    """The catalogue with these entries in place of those of `ids`. Raises InvalidRequest where they do not fit."""
    others = [one for one in written if version_of(one)[0] not in ids]
    try:
        return catalogue_of([*others, *entries])
    except CatalogueRefused as refused:
        raise _refused(refused.problems) from None


def _undated(written: Written) -> dict[str, Any]:
    """What an entry says, whenever that holds."""
    entry = written[1]
    said = entry if isinstance(entry, Mapping) else {}
    return {name: value for name, value in said.items() if name not in ("version", "valid_from")}


def _refused(problems: list[str]) -> InvalidRequest:
    errors = [{"field": "entry", "problem": problem} for problem in problems]
    return InvalidRequest("; ".join(problems[:5]), errors=errors)


def _covers_all(principal: Principal) -> None:
    principal.check_all_units("The catalogue")
    if principal.regions is not None:
        raise Forbidden("The catalogue is everybody's; a token for all regions is needed to change it.")
