"""The use cases of staff about states: see them, answer for a breach, silence what is known. Each is one transaction."""

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast

import msgspec
from pydantic import BaseModel

from closedloop.common.auth.principal import Principal
from closedloop.common.http.pages import Page, decode_cursor, page_of
from closedloop.common.http.preconditions import check_version, forget_keys, once_committed
from closedloop.common.http.problems import Conflict, Forbidden, InvalidRequest, NotFound
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import state_store as store
from closedloop.kpi.domain.catalogue import Catalogue, EventIndicator, Indicator
from closedloop.kpi.domain.expressions import suggestion
from closedloop.kpi.domain.states import LEVELS, Evidence
from closedloop.kpi.domain.thresholds import Threshold
from closedloop.kpi.domain.windows import time_of
from closedloop.kpi.state_schemas import Acknowledgement, EndOfSilence, NewSilence, SilenceView, StateLine, StateView
from closedloop.kpi.value import REGION

LONGEST_SILENCE: Final = timedelta(days=400)
# what a made-up cursor may hold: no more than PostgreSQL takes
_PLACE = cast("type[int]", Annotated[int, msgspec.Meta(ge=0, lt=2**63)])
_TEXT = cast("type[str]", Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")])
_TIME = cast("type[datetime]", Annotated[datetime, msgspec.Meta(tz=True)])


class States:
    """How series stand, and what people do about it."""

    def __init__(self, pool: Pool, catalogue: Catalogue) -> None:
        self._pool = pool
        self._catalogue = catalogue

    # --- reading ---

    async def list(self, narrowed: store.Narrowed, owner: str | None, cursor: str | None, limit: int) -> Page[StateView]:
        """By name. `narrowed.regions` must come from the principal."""
        after = decode_cursor(cursor, (_TEXT,))
        known = [i.id for i in self._catalogue.indicators if owner is None or i.owner == owner]
        wanted = [id for id in known if narrowed.indicators is None or id in narrowed.indicators]
        asked = store.Narrowed(narrowed.regions, narrowed.states, wanted)
        rows = await store.read_states(self._pool, asked, after[0] if after else None, limit + 1)
        return page_of(rows, limit, self._view, lambda row: [row["series"]])

    async def show(self, id: uuid.UUID, principal: Principal) -> StateView:
        """Raises NotFound."""
        return self._view(_found(await store.read_state(self._pool, id, principal.region_filter())))

    async def history(self, told: store.Told, id: uuid.UUID | None, cursor: str | None, limit: int) -> Page[StateLine]:
        """The newest first; of one series, or of all that `told` asks for. Raises NotFound."""
        before = decode_cursor(cursor, (_PLACE,))
        if id is not None:
            row = _found(await store.read_state(self._pool, id, told.regions))
            told = store.Told(told.regions, row["series"], told.indicator_id, told.since, told.until)
        rows = await store.read_history(self._pool, told, before[0] if before else None, limit + 1)
        return page_of(rows, limit, _line, lambda row: [row["id"]])

    # --- acknowledging ---

    async def acknowledge(
        self, id: uuid.UUID, version: int, key: str | None, body: Acknowledgement, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body). Raises NotFound, PreconditionFailed; Conflict where there is nothing to answer for."""

        async def act(connection: Connection) -> tuple[int, Any]:
            row = _found(await store.read_state(connection, id, principal.region_filter(), lock=True))
            check_version(version, row["version"])
            principal.check_unit(self._owner(row["indicator_id"]), row["indicator_id"])
            if not row["rank"] or row["breach_id"] is None:
                raise Conflict(f"It is {row['state']} and not breached: there is nothing to acknowledge.")
            if row["acknowledged_by"] is not None:
                raise Conflict(f"{row['acknowledged_by']} acknowledged it at {row['acknowledged_at'].isoformat()}.")
            at = await store.now(connection)
            row = await store.acknowledge(connection, row["series"], principal.subject, body.comment, at)
            return 200, self._view(row).model_dump(mode="json", by_alias=True)

        return await once_committed(self._pool, key, principal.subject, f"acknowledge {id}", body, act)

    # --- silences ---

    async def list_silences(self, cursor: str | None, limit: int, principal: Principal) -> Page[SilenceView]:
        """The one that ends last first."""
        after = decode_cursor(cursor, (_TIME, uuid.UUID))
        place = (after[0], after[1]) if after else None
        rows = await store.read_silences(self._pool, principal.region_filter(), place, limit + 1)
        return page_of(rows, limit, _silence, lambda row: [row["ends_at"], row["id"]])

    async def silence(self, key: str | None, body: NewSilence, principal: Principal) -> tuple[int, Any]:
        """(status, body). Raises InvalidRequest, Forbidden."""
        self._check(body, principal)
        self._check_units(body.indicator_id, principal)

        async def act(connection: Connection) -> tuple[int, Any]:
            start = body.start or await store.now(connection)
            if not start < body.until <= start + LONGEST_SILENCE:
                days = LONGEST_SILENCE.days
                raise InvalidRequest(f"until: must be after `from` (left out: now), and at most {days} days later", field="until")
            asked = {
                "id": uuid.uuid4(),
                "indicator_id": body.indicator_id,
                "dimensions": dict(body.dimensions),
                "starts_at": start,
                "ends_at": body.until,
                "comment": body.comment,
                "made_by": principal.subject,
            }
            return 201, _json(_silence(await store.add_silence(connection, asked)))

        return await once_committed(self._pool, key, principal.subject, "silence", body, act)

    async def end_silence(
        self, id: uuid.UUID, version: int, key: str | None, body: EndOfSilence, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body). Raises NotFound, PreconditionFailed; Conflict where it is over."""

        async def act(connection: Connection) -> tuple[int, Any]:
            row = await store.lock_silence(connection, id, principal.region_filter())
            if row is None:
                raise NotFound("There is no silence with this id that the token's regions cover; `GET /v1/silences` lists them.")
            check_version(version, row["version"])
            self._check_units(row["indicator_id"], principal)
            at = await store.now(connection)
            if row["ends_at"] <= at:
                raise Conflict(f"It was over at {row['ends_at'].isoformat()}; what it held back until then stays held back.")
            return 200, _json(_silence(await store.end_silence(connection, id, principal.subject, body.comment, at)))

        return await once_committed(self._pool, key, principal.subject, f"end silence {id}", body, act)

    async def forget_keys(self) -> None:
        """Drop the idempotency keys that nobody repeats any more."""
        await forget_keys(self._pool, await store.now(self._pool))

    # --- shared ---

    def _check(self, body: NewSilence, principal: Principal) -> None:
        """What it names must be there, and inside of the token's regions."""
        named = list(self._catalogue.indicators)
        if body.indicator_id is not None:
            indicator = self._catalogue.get(body.indicator_id)
            if indicator is None:
                close = suggestion(body.indicator_id, [i.id for i in named])
                problem = f"{body.indicator_id!r} is no indicator's id{close}"
                raise InvalidRequest(f"indicator_id: {problem}", field="indicator_id")
            named = [indicator]
        judged = {name for indicator in named for name in _judged_by(indicator)}
        for name in body.dimensions:
            if name not in judged:
                have = ", ".join(sorted(judged)) or "none"
                raise InvalidRequest(f"dimensions: series are not judged by {name[:64]!r}; there are {have}", field="dimensions")
        region = body.dimensions.get(REGION)
        if region is not None:
            principal.region_filter(region)
        elif principal.regions is not None:
            raise Forbidden(
                "dimensions: must name a region that the token covers; without one all are silenced", field="dimensions"
            )

    def _check_units(self, indicator_id: str | None, principal: Principal) -> None:
        if indicator_id is None:
            principal.check_all_units("A silence of all indicators")
        else:
            principal.check_unit(self._owner(indicator_id), indicator_id)

    def _owner(self, indicator_id: str) -> str:
        """Whose it is; nobody's where the catalogue has it no longer."""
        indicator = self._catalogue.get(indicator_id)
        return "nobody" if indicator is None else indicator.owner

    def _view(self, row: store.Row) -> StateView:
        evidence = Evidence(None, 0, 0, 0) if row["evidence"] is None else msgspec.convert(row["evidence"], Evidence)
        indicator = self._catalogue.get(row["indicator_id"])
        pending = row["state"] == "pending" and row["suppressed_by"] is None
        rule = indicator.threshold if isinstance(indicator, EventIndicator) else None
        clocks = [since for since in (row["warning_since"], row["critical_since"]) if since is not None]
        lasting = rule.for_minutes if isinstance(rule, Threshold) else 0
        said = row["said"] or {}
        return StateView(
            id=row["id"],
            series=row["series"],
            indicator_id=row["indicator_id"],
            dimensions=row["dimensions"],
            judged_by=row["judged_by"],
            state=row["state"],
            since=_time(row["since"]),
            pending_until=_time(min(clocks) + lasting) if pending and clocks else None,
            suppressed_by=row["suppressed_by"],
            level=LEVELS.get(row["rank"]),
            value=evidence.value,
            numerator=None if row["evidence"] is None else evidence.numerator,
            denominator=None if row["evidence"] is None else evidence.denominator,
            sample=None if row["evidence"] is None else evidence.sample,
            rule=evidence.rule,
            unit=indicator.unit if indicator is not None else "",
            owner=indicator.owner if indicator is not None else said.get("owner", ""),
            stated_until=time_of(row["stated_until"]),
            series_url=said.get("series_url"),
            acknowledged_by=row["acknowledged_by"],
            acknowledged_at=row["acknowledged_at"],
            comment=row["comment"],
            escalations=row["escalations"],
            version=row["version"],
        )


def _judged_by(indicator: Indicator) -> set[str]:
    """The dimensions that its series may have."""
    if indicator.is_judged_by_period:
        return {REGION}
    rules = (indicator.threshold, indicator.control) if isinstance(indicator, EventIndicator) else ()
    return {name for rule in rules if rule is not None for name in rule.by}


def _time(minute: int | None) -> datetime | None:
    return None if minute is None else time_of(minute)


def _line(row: store.Row) -> StateLine:
    return StateLine(
        event_id=row["event_id"],
        series=row["series"],
        indicator_id=row["indicator_id"],
        kind=row["kind"],
        reason=row["reason"],
        at=row["at"],
        by=row["stated_by"],
        recorded_at=row["stated_at"],
        comment=row["comment"],
        data=row["data"],
    )


def _silence(row: store.Row) -> SilenceView:
    return SilenceView(
        id=row["id"],
        indicator_id=row["indicator_id"],
        dimensions=row["dimensions"],
        start=row["starts_at"],
        until=row["ends_at"],
        comment=row["comment"],
        made_by=row["made_by"],
        made_at=row["made_at"],
        ended_by=row["ended_by"],
        version=row["version"],
    )


def _json(view: BaseModel) -> Any:
    return view.model_dump(mode="json", by_alias=True)


def _found(row: store.Row | None) -> store.Row:
    if row is None:
        raise NotFound("There is no series with this id in the token's regions; `GET /v1/states` lists those there are.")
    return row
