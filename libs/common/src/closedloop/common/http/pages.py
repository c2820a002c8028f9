"""Lists answer `{"items": […], "next": cursor or null}`; a cursor is the last item's sort key, opaque to clients."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel

from closedloop.common.http.problems import InvalidRequest

T = TypeVar("T")
S = TypeVar("S")
MAX_PAGE = 500

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="items on a page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = None


def encode_cursor(key: Sequence[Any]) -> str:
    """The sort key of a page's last item as text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(key))).decode().rstrip("=")


def decode_cursor(cursor: str | None, kinds: Sequence[type]) -> list[Any] | None:
    """The sort key again, each part checked to be of its kind (datetimes come as aware datetimes). Raises InvalidRequest."""
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        parts = msgspec.json.decode(raw, type=list[Any])
        if len(parts) != len(kinds):
            raise ValueError
        key: list[Any] = [msgspec.convert(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        if any(isinstance(part, datetime) and part.tzinfo is None for part in key):
            raise ValueError
        return key
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise InvalidRequest("cursor: is not one that this list gave; leave it out to begin anew") from None


def page_of(rows: Sequence[S], limit: int, shape: Callable[[S], T], key: Callable[[S], Sequence[Any]]) -> Page[T]:
    """A page from `limit` + 1 rows: the one too many says that there is a next page."""
    shown = rows[:limit]
    return Page(items=[shape(row) for row in shown], next=encode_cursor(key(shown[-1])) if len(rows) > limit else None)
