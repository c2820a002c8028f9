"""Use cases of the monthly report: gather a draft, comment, publish for good, restate, and follow measures."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from closedloop.common.auth.principal import Principal
from closedloop.common.http.pages import Page, decode_cursor, page_of
from closedloop.common.http.preconditions import check_version, once_committed
from closedloop.common.http.problems import Conflict, Forbidden, InvalidRequest, NotFound
from closedloop.common.postgres.pool import Connection, Pool
from closedloop.kpi import counted_store
from closedloop.kpi.asking import groups_asked
from closedloop.kpi.catalogue_history import CatalogueHistory
from closedloop.kpi.domain import report as rules
from closedloop.kpi.domain.catalogue import Catalogue, Indicator
from closedloop.kpi.domain.counted import FAR
from closedloop.kpi.domain.months import bounds, earlier, is_month, month_of
from closedloop.kpi.domain.report import Month, Report, Restated
from closedloop.kpi.domain.windows import TooManyPoints, minute_of, time_of
from closedloop.kpi.reports import forms, schemas, store
from closedloop.kpi.reports.gathering import Added, Gathering
from closedloop.kpi.reports.workbook import as_workbook

MOST_DRAFTS: Final = 3
"""So many unpublished reports of a list say whom they wait for, the latest: each takes a draft."""
MOST_REPORTS: Final = 20
"""So many later reports are named for a figure that was restated."""
RESTATED_MONTHS: Final = 3
"""A report restates the published ones of so many months before it."""


class Reports:
    """What quality managers and owners do with reports."""

    def __init__(
        self,
        pool: Pool,
        gathering_by: Callable[[Catalogue], Gathering],
        catalogue: Catalogue,
        history: CatalogueHistory,
        zone: ZoneInfo,
        retention: timedelta,
    ) -> None:
        """`catalogue`: today's; a month goes by that of its last day, with the formulas, targets and levels of then. `retention`:
        so long what was counted is kept."""
        self._pool = pool
        self._gathering_by = gathering_by
        self._catalogue = catalogue
        self._history = history
        self._zone = zone
        self._retention = retention

    # --- reading ---

    async def listed(self, cursor: str | None, limit: int, principal: Principal) -> Page[schemas.ReportHead]:
        """Reports that somebody commented or published, the latest first."""
        _covers_all(principal)
        before = decode_cursor(cursor, [str])
        async with self._pool.acquire() as connection:
            found = await store.heads(connection, before[0] if before else None, limit + 1)
        waiting = [head.month for head in found[:limit] if head.published_at is None][:MOST_DRAFTS]
        shown = {head.month: await self._stands(head) if head.month in waiting else _head(head) for head in found[:limit]}
        return page_of(found, limit, lambda head: shown[head.month], lambda head: [head.month])

    async def show(self, month: str, form: str, principal: Principal) -> tuple[store.Head, bytes]:
        """The published bytes, or the draft of this moment. Raises InvalidRequest, Forbidden."""
        _covers_all(principal)
        self._check_month(month)
        async with self._pool.acquire() as connection:
            head = await store.read_head(connection, month)
            if head.published_at is not None:
                content = await store.read_form(connection, month, form)
                assert content is not None  # noqa: S101 (a CHECK of the table)
                return head, content
        report = await self._draft(month)
        return head, await asyncio.to_thread(_drawn, report, form)

    async def state(self, month: str, principal: Principal) -> schemas.ReportHead:
        """Where the report stands, and which shortcomings nobody has commented yet."""
        _covers_all(principal)
        self._check_month(month)
        async with self._pool.acquire() as connection:
            head = await store.read_head(connection, month)
        return await self._stands(head)

    async def drill(self, month: str, indicator_id: str, group_by: Sequence[str], principal: Principal) -> schemas.Drilled:
        """What stands behind a figure. Raises NotFound, InvalidRequest."""
        _covers_all(principal)
        self._check_month(month)
        catalogue = await self._catalogue_of(month)
        indicator = catalogue.get(indicator_id)
        if indicator is None:
            raise NotFound(f"The catalogue of {month} has no indicator {indicator_id[:64]!r}.")
        groups = groups_asked(group_by, indicator)
        try:
            window, values = await self._gathering_by(catalogue).drilled(indicator, month, minute_of(datetime.now(UTC)), groups)
        except TooManyPoints:
            raise InvalidRequest("group_by: makes too many groups; name fewer dimensions", field="group_by") from None
        async with self._pool.acquire() as connection:
            content = await store.read_form(connection, month, "json")
        figures = forms.from_json(content).figures if content is not None else []
        published = next((figure.amount for figure in figures if figure.indicator_id == indicator_id), None)
        return schemas.Drilled.of(month, indicator, window, values, published)

    async def restatement(self, month: str, principal: Principal) -> schemas.Restatement:
        """What later data changed. Raises NotFound where the month is not published."""
        _covers_all(principal)
        self._check_month(month)
        async with self._pool.acquire() as connection:
            head = await store.read_head(connection, month)
            content = await store.read_form(connection, month, "json")
        if content is None or head.sha256 is None:
            raise NotFound(f"The report of {month} is not published, so there is nothing to restate.")
        items = await self._restated(month, content)
        return schemas.Restatement(
            month=month,
            sha256=head.sha256,
            items=[schemas.RestatedItem.model_validate(item) for item in items],
            is_counted=self._is_counted(month),
        )

    # --- writing ---

    async def comment(self, month: str, body: schemas.NewComment, key: str | None, principal: Principal) -> tuple[int, Any]:
        """(status, body). Raises Conflict where the month is published, InvalidRequest for an unknown indicator, Forbidden where it
        is another unit's."""
        _covers_all(principal)
        self._check_month(month)
        principal.check_unit((await self._indicator_of(month, body.indicator_id)).owner, body.indicator_id)

        async def act(connection: Connection) -> tuple[int, Any]:
            head = await store.lock_head(connection, month)
            _check_open(head)
            await store.add_comment(connection, month, body.indicator_id, principal.subject, body.text)
            version = await store.advance(connection, month)
            return 201, {"month": month, "version": version, "indicator_id": body.indicator_id, "by": principal.subject}

        return await once_committed(self._pool, key, principal.subject, f"comment {month}", body, act)

    async def publish(
        self, month: str, body: schemas.Publication, version: int, key: str | None, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body). Raises Conflict where it is published already, the month has not ended, or comments are missing."""
        _covers_all(principal)
        principal.check_all_units("Publishing")
        self._check_month(month)
        if bounds(month, self._zone)[1] > minute_of(datetime.now(UTC)):
            raise Conflict(f"{month} has not ended; a report is published from the first day of the next month on.")
        # gathered outside of the transaction; a comment that comes meanwhile moves the version on, and this is refused
        report = await self._draft(month)
        published = await asyncio.to_thread(_published, report)

        async def act(connection: Connection) -> tuple[int, Any]:
            head = await store.lock_head(connection, month)
            _check_open(head)
            check_version(version, head.version)
            missing = [figure.indicator_id for figure in report.uncommented]
            if missing and body.because is None:
                raise Conflict(
                    f"{len(missing)} indicators fall short and have no comment of their owner: {', '.join(missing[:20])}. "
                    "Let them comment, or say in `because` why it is published without.",
                    uncommented=missing,
                )
            await store.publish(connection, month, published, principal.subject, body.because)
            await self._follow(connection)
            head = await store.read_head(connection, month)
            return 200, _head(head).model_dump(mode="json")

        return await once_committed(self._pool, key, principal.subject, f"publish {month} {version}", body, act)

    async def shortcomings(
        self,
        indicator_id: str | None,
        owner: str | None,
        is_open: bool | None,
        cursor: str | None,
        limit: int,
        principal: Principal,
    ) -> Page[schemas.ShortcomingView]:
        """The oldest first."""
        _covers_all(principal)
        after = decode_cursor(cursor, [str, str])
        ids = None if indicator_id is None else [indicator_id]
        if owner is not None:
            own = [one.id for one in self._catalogue.indicators if one.owner == owner]
            ids = own if ids is None else [id_ for id_ in ids if id_ in own]
        async with self._pool.acquire() as connection:
            found = await store.list_shortcomings(
                connection, ids, is_open, self._today(), (after[0], after[1]) if after else None, limit + 1
            )
        return page_of(found, limit, self._shortcoming, lambda one: [one.since, one.indicator_id])

    async def improvements(
        self,
        indicator_id: str | None,
        owner: str | None,
        state: str | None,
        is_overdue: bool,
        cursor: str | None,
        limit: int,
        principal: Principal,
    ) -> Page[schemas.ImprovementView]:
        """The oldest first; `is_overdue`: only those."""
        _covers_all(principal)
        after = decode_cursor(cursor, [datetime, uuid.UUID])
        day = self._today() if is_overdue else None
        async with self._pool.acquire() as connection:
            found = await store.list_improvements(
                connection, indicator_id, owner, state, day, (after[0], after[1]) if after else None, limit + 1
            )
        return page_of(found, limit, self._improvement, lambda one: [one.created_at, one.id])

    async def improve(self, body: schemas.NewImprovement, key: str | None, principal: Principal) -> tuple[int, Any]:
        """(status, body) of a new measure."""
        _covers_all(principal)
        principal.check_unit(self._indicator(body.indicator_id).owner, body.indicator_id)

        async def act(connection: Connection) -> tuple[int, Any]:
            added = await store.add_improvement(
                connection, uuid.uuid4(), body.indicator_id, body.text, body.owner, body.due, principal.subject
            )
            return 201, self._improvement(added).model_dump(mode="json")

        return await once_committed(self._pool, key, principal.subject, "improvement", body, act)

    async def progress(
        self, id_: uuid.UUID, body: schemas.NewProgress, version: int, key: str | None, principal: Principal
    ) -> tuple[int, Any]:
        """(status, body). Raises NotFound, Conflict where the measure has ended, PreconditionFailed."""
        _covers_all(principal)

        async def act(connection: Connection) -> tuple[int, Any]:
            measure = await store.lock_improvement(connection, id_)
            if measure is None:
                raise NotFound(f"There is no measure {id_}.")
            check_version(version, measure.version)
            if principal.units is None or measure.owner not in principal.units:
                indicator = self._catalogue.get(measure.indicator_id)
                principal.check_unit(
                    measure.owner if indicator is None else indicator.owner, f"The measure of {measure.indicator_id}"
                )
            if measure.state != "open":
                raise Conflict(f"The measure is {measure.state}; begin a new one where more is to be done.")
            changed = await store.add_progress(connection, id_, body.percent, body.state, body.text, principal.subject)
            return 200, self._improvement(changed).model_dump(mode="json")

        return await once_committed(self._pool, key, principal.subject, f"progress {id_} {version}", body, act)

    # --- inside ---

    async def _stands(self, head: store.Head) -> schemas.ReportHead:
        """Where it stands; of one that is not published its draft tells whom it waits for."""
        if head.published_at is not None:
            return _head(head)
        report = await self._draft(head.month)
        return _head(head, [figure.indicator_id for figure in report.uncommented])

    async def _follow(self, connection: Connection) -> None:
        """Keep what all published reports say of what falls short: months may be published in any order."""
        reports = [forms.from_json(content) for content in await store.published_forms(connection)]
        judged = [(report.month, {figure.indicator_id: figure.judgement for figure in report.figures}) for report in reports]
        await store.write_shortcomings(connection, rules.shortcomings(judged))

    async def _draft(self, month: Month) -> Report:
        now = datetime.now(UTC)
        start, end = (time_of(minute) for minute in bounds(month, self._zone))
        restated: list[Restated] = []
        async with self._pool.acquire() as connection:
            added = Added(
                breaches=await store.read_breaches(connection, start, end),
                comments=await store.read_comments(connection, month),
                # until the report is published people go on working on the measures
                measures=await store.read_measures(connection, month, start, now),
                open_since=await store.open_shortcomings(connection, month),
                counted=await counted_store.read(connection),
                # of a formula that has long been replaced nothing is noted, and nothing is claimed
                uncounted=FAR if month == month_of(minute_of(now), self._zone) else None,
            )
            published = {
                one: await store.read_form(connection, one, "json")
                for one in (earlier(month, back) for back in range(RESTATED_MONTHS, 0, -1))
            }
        for one, content in published.items():
            if content is not None:
                restated += await self._restated(one, content)
        gathering = await self._gathering(month)
        return await gathering.report(month, minute_of(now), now, added, restated)

    async def _restated(self, month: Month, content: bytes) -> list[Restated]:
        is_counted = self._is_counted(month)
        published = forms.from_json(content)
        since = published.gathered_at
        figures = {
            figure.indicator_id: figure
            for figure in published.figures
            if is_counted or figure.collection not in ("events", "derived")
        }
        gathering = await self._gathering(month)
        changed = rules.restated(month, figures, await gathering.amounts(month, figures))
        async with self._pool.acquire() as connection:
            return [replace(item, reports=await self._reports(connection, gathering, item, since)) for item in changed]

    async def _reports(
        self, connection: Connection, gathering: Gathering, item: Restated, since: datetime
    ) -> list[rules.LaterReport]:
        """Those after `since` that stand in a figure of the month, the newest first."""
        found: list[rules.LaterReport] = []
        for source, (start, end) in gathering.sources(item.indicator_id, item.month):
            first, after = (time_of(minute).astimezone(self._zone).date() for minute in (start, end))
            days = (None if source.is_level else first, after)
            found += await store.later_reports(connection, source.id, since, days, MOST_REPORTS)
        return sorted(found, key=lambda one: one.at, reverse=True)[:MOST_REPORTS]

    def _is_counted(self, month: Month) -> bool:
        """Whether all that was counted in it is still there: what has gone is no later data."""
        return bounds(month, self._zone)[0] >= minute_of(datetime.now(UTC) - self._retention)

    async def _gathering(self, month: Month) -> Gathering:
        return self._gathering_by(await self._catalogue_of(month))

    async def _catalogue_of(self, month: Month) -> Catalogue:
        """That of its last day, or of today while it goes on."""
        today = self._today()
        last = time_of(bounds(month, self._zone)[1] - 1).astimezone(self._zone).date()
        async with self._pool.acquire() as connection:
            return await self._history.on(connection, min(last, today), today, self._catalogue)

    async def _indicator_of(self, month: Month, indicator_id: str) -> Indicator:
        """As it stands in the month's report."""
        indicator = (await self._catalogue_of(month)).get(indicator_id)
        if indicator is None:
            raise InvalidRequest(f"indicator_id: no indicator has the id {indicator_id[:64]!r} in {month}", field="indicator_id")
        return indicator

    def _check_month(self, month: str) -> None:
        if not is_month(month):
            raise InvalidRequest(f"month: must be written as 2026-10, not {month[:20]!r}", field="month")
        if month > (latest := month_of(minute_of(datetime.now(UTC)), self._zone)):
            raise InvalidRequest(f"month: {month} has not begun; the latest is {latest}", field="month")

    def _indicator(self, indicator_id: str) -> Indicator:
        indicator = self._catalogue.get(indicator_id)
        if indicator is None:
            raise InvalidRequest(f"indicator_id: no indicator has the id {indicator_id[:64]!r}", field="indicator_id")
        return indicator

    def _today(self) -> date:
        return datetime.now(self._zone).date()

    def _improvement(self, measure: store.Improvement) -> schemas.ImprovementView:
        view = schemas.ImprovementView.model_validate(measure)
        view.is_overdue = measure.state == "open" and measure.due < self._today()
        return view

    def _shortcoming(self, found: store.Followed) -> schemas.ShortcomingView:
        view = schemas.ShortcomingView.model_validate(found)
        indicator = self._catalogue.get(found.indicator_id)
        if indicator is not None:
            view.name_en, view.owner = indicator.name_en, indicator.owner
        view.needs_measure = found.gone is None and not found.measures_open
        return view


def _covers_all(principal: Principal) -> None:
    if principal.regions is not None:
        raise Forbidden("A report is about all regions; a token for all of them is needed. Values and series answer for yours.")


def _check_open(head: store.Head) -> None:
    if head.published_at is not None:
        raise Conflict(
            f"The report of {head.month} was published at {head.published_at:%Y-%m-%d %H:%M} UTC and stays as it is; "
            f"GET /v1/reports/{head.month}/restatement says what later data changed."
        )


def _head(head: store.Head, uncommented: list[str] | None = None) -> schemas.ReportHead:
    published = head.published_at is not None
    return schemas.ReportHead(
        month=head.month,
        version=head.version,
        state="published" if published else "commented" if uncommented == [] and head.version else "draft",
        published_at=head.published_at,
        published_by=head.published_by,
        sha256=head.sha256,
        because=head.because,
        uncommented=uncommented,
    )


def _drawn(report: Report, form: str) -> bytes:
    if form == "html":
        return forms.as_html(report, published=False)
    return as_workbook(report) if form == "xlsx" else forms.as_json(report)


def _published(report: Report) -> store.Published:
    json = forms.as_json(report)
    return store.Published(json, forms.as_html(report, published=True), as_workbook(report), hashlib.sha256(json).hexdigest())
