"""/asyncapi: the contract of the topics, as JSON for tools and as a page for people; like /docs it needs no token."""

from functools import cache

from fastapi import APIRouter, Request, Response

from closedloop.common.events.asyncapi import document, text
from closedloop.ingest.asyncapi_page import page


def asyncapi_routes() -> APIRouter:
    """A browser asks for text/html and gets the page; everybody else gets the document."""
    router = APIRouter()

    @router.get("/asyncapi", include_in_schema=False)
    async def asyncapi(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return Response(_page(), media_type="text/html; charset=utf-8", headers={"Vary": "Accept"})
        return Response(_json(), media_type="application/json", headers={"Vary": "Accept"})

    return router


@cache
def _json() -> str:
    return text()


@cache
def _page() -> str:
    return page(document())
