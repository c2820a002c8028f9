"""How a body says what it is: content type and content coding, as HTTP and the CloudEvents HTTP binding define them."""

import enum
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from closedloop.common.events.rules import Refused


class Media(enum.Enum):
    """What a body holds."""

    STRUCTURED = "application/cloudevents+json"
    BATCH = "application/cloudevents-batch+json"
    JSON = "application/json"
    NDJSON = "application/x-ndjson"


_MEDIA: Final = {
    b"application/cloudevents+json": Media.STRUCTURED,
    b"application/cloudevents-batch+json": Media.BATCH,
    b"application/json": Media.JSON,
    b"application/x-ndjson": Media.NDJSON,
    b"application/ndjson": Media.NDJSON,
    b"application/jsonl": Media.NDJSON,
}
_ATTRIBUTE_NAME: Final = re.compile(r"[a-z0-9]{1,64}\Z")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_DATA_MEMBERS: Final = frozenset({"data", "data_base64"})


def media_of(content_type: bytes) -> Media | None:
    """None where the type is unknown or the characters are not UTF-8."""
    found = _MEDIA.get(content_type)
    if found is not None:
        return found
    name, *parameters = content_type.lower().split(b";")
    for parameter in parameters:
        key, _, value = parameter.strip().partition(b"=")
        if key == b"charset" and value.strip(b'"') not in (b"utf-8", b"utf8", b"us-ascii"):
            return None
    return _MEDIA.get(name.strip())


def binary_attributes(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The CloudEvents attributes in `ce-*` headers, unquoted and percent-decoded, and `datacontenttype`. Raises Refused."""
    attributes: dict[str, str] = {}
    for raw_name, raw_value in headers.items():
        if not raw_name.startswith(b"ce-"):
            continue
        name = raw_name[3:].decode("latin-1")
        if not _ATTRIBUTE_NAME.match(name) or name in _DATA_MEMBERS:
            raise Refused(f"ce-{name[:64]}", "is not a name of a CloudEvents attribute (a-z, 0-9)")
        attributes[name] = _header_value(f"ce-{name}", raw_value)
    attributes["datacontenttype"] = headers.get(b"content-type", b"application/json").decode("latin-1")
    return attributes


def _header_value(field: str, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
        if len(text) >= 2 and text[0] == text[-1] == '"':
            text = _ESCAPED.sub(r"\1", text[1:-1])
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(field, "must be UTF-8, percent-encoded") from None
    if "\0" in decoded:
        raise Refused(field, "holds a NUL character, which cannot be stored")
    return decoded
