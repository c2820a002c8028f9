"""The routes that change the catalogue."""

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from closedloop.common.auth.access import Requires, Router
from closedloop.common.auth.principal import Principal
from closedloop.common.auth.roles import INDICATORS_MANAGE, INDICATORS_READ
from closedloop.common.http.preconditions import IdempotencyKey, IfMatch, etag
from closedloop.common.http.problems import UnknownMedia
from closedloop.kpi.catalogue_changes import CatalogueChanges
from closedloop.kpi.entry_schemas import EffectView, FileEffects, NewEntry, Reason, Versions

router = Router(prefix="/v1/indicators", tags=["catalogue"])
Reader = Annotated[Principal, Depends(Requires(INDICATORS_READ))]
Manager = Annotated[Principal, Depends(Requires(INDICATORS_MANAGE))]


YAML: Final = ("application/yaml", "application/x-yaml", "text/yaml")
_FILE: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {YAML[0]: {"schema": {"type": "string", "description": "as in CATALOGUE.md"}}}}
}


class Retirement(BaseModel):
    """Why an indicator is not measured any more."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class SavedView(BaseModel):
    """What was saved. `counted_from`: where its formula was not counted before, values are whole from then on. `never_in_force`:
    versions for a later day that this one goes before."""

    id: str
    version: int
    valid_from: str
    counted_from: str | None
    is_retired: bool
    never_in_force: list[int]


def _changes(request: Request) -> CatalogueChanges:
    return cast(CatalogueChanges, request.app.state.catalogue_changes)


UseCases = Annotated[CatalogueChanges, Depends(_changes)]


@router.get("/{indicator_id}/versions", summary="Its versions: of the files, and what was saved, by whom, when and why")
async def versions(changes: UseCases, _: Reader, indicator_id: str) -> Versions:
    return await changes.versions(indicator_id)


@router.post("/{indicator_id}/dry-run", summary="What a new or changed entry would have said of last month")
async def dry_run(changes: UseCases, principal: Manager, indicator_id: str, body: NewEntry) -> EffectView:
    """Nothing is saved. A formula that is not counted yet is tried on the records that the topic still keeps."""
    return await changes.effect(body, indicator_id, principal)


@router.post("/dry-run", summary="What a catalogue file would have said of last month", openapi_extra=_FILE)
async def dry_run_file(
    request: Request,
    changes: UseCases,
    principal: Manager,
    name: Annotated[
        str, Query(max_length=255, pattern=r"^[^/:\x00-\x1f]+$", description="the operator's file in whose place it would stand")
    ] = "file",
) -> FileEffects:
    """Nothing is saved. Its entries are tried together, whatever day they are for: those that say something else than the ones in
    force, and what is composed of them, at most 20. What would keep the service from starting is named by line, entry and word."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in YAML:
        raise UnknownMedia(f"Content-Type: must be {YAML[0]}, the text of a catalogue file in UTF-8.")
    return await changes.effects_of_file(await request.body(), name, principal)


@router.post("", summary="A new indicator", status_code=201, response_model=SavedView)
async def create(changes: UseCases, principal: Manager, body: NewEntry, key: IdempotencyKey = None) -> Response:
    return _answer(await changes.create(body, key, principal))


@router.put("/{indicator_id}", summary="Save its next version", response_model=SavedView)
async def change(
    changes: UseCases, principal: Manager, indicator_id: str, body: NewEntry, version: IfMatch, key: IdempotencyKey = None
) -> Response:
    """The ETag of `GET /v1/indicators/{id}` is what this sends as If-Match: of the highest version, also where that waits for its
    day. The next one goes before it."""
    return _answer(await changes.change(indicator_id, body, version, key, principal))


@router.post("/{indicator_id}/retirement", summary="Measure it no more", response_model=SavedView)
async def retire(
    changes: UseCases, principal: Manager, indicator_id: str, body: Retirement, version: IfMatch, key: IdempotencyKey = None
) -> Response:
    """Its history and its place in published reports stay."""
    return _answer(await changes.retire(indicator_id, body, version, key, principal))


def _answer(answer: tuple[int, Any]) -> JSONResponse:
    status, body = answer
    return JSONResponse(body, status, {"ETag": etag(body["version"])})
