"""JSON Schemas of all event types, made from the Structs and the rules; they stand in git beside an example each.

`python -m closedloop.common.events.contract` (`make schemas`) writes them; a test fails where git and code differ.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from closedloop.common.events.model import EvaluationData, Event
from closedloop.common.events.rules import CODE, CODE_FIELDS, E164, MAX_EVENT_BYTES, RFC3339
from closedloop.common.events.topics import TOPIC_OF_TYPE, TYPE_BY_NAME, data_type

FOLDER: Final = Path(__file__).parent / "schemas"
_CODES: Final = {*CODE_FIELDS, "order_type", "step"}


def schema_of(cls: type[Event]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one event type in structured mode. It says what `decode_structured` and `check` enforce."""
    name = str(cls.__struct_config__.tag)
    envelope = _object(msgspec.json.schema(cls), cls.__name__)
    data = _object(msgspec.json.schema(data_type(cls)), data_type(cls).__name__)
    properties = data["properties"]
    for field in _CODES & properties.keys():
        properties[field] = _optional(properties[field], {"type": "string", "pattern": _pattern(CODE.pattern)})
    if "phone" in properties:
        properties["phone"] = _optional(properties["phone"], {"type": "string", "pattern": _pattern(E164.pattern)})
    if data_type(cls) is EvaluationData:
        data["anyOf"] = [{"required": ["score"]}, {"required": ["satisfied"]}]
    envelope["properties"]["data"] = data
    envelope["properties"]["time"] = {"type": "string", "format": "date-time", "pattern": _pattern(RFC3339.pattern)}
    topic = TOPIC_OF_TYPE[cls]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": f"{topic.description} Topic `{topic.name}`, key: {topic.key}. At most {MAX_EVENT_BYTES} bytes.",
        **envelope,
    }


def _object(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][name]
    found.pop("title", None)
    found.pop("description", None)
    return found


def _optional(was: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [now, {"type": "null"}], "default": None} if "anyOf" in was else now


def _pattern(python: str) -> str:
    return "^" + python.replace(r"\Z", "$").replace(r"\d", "[0-9]")


def schema_file(name: str) -> Path:
    """Where the schema of an event type stands."""
    return FOLDER / f"{name}.schema.json"


def example_file(name: str) -> Path:
    """Where the example of an event type stands."""
    return FOLDER / f"{name}.example.json"


def text_of(document: dict[str, Any]) -> str:
    """As it stands in git."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    """Write all schemas."""
    FOLDER.mkdir(exist_ok=True)
    for name, cls in TYPE_BY_NAME.items():
        schema_file(name).write_text(text_of(schema_of(cls)), encoding="utf-8")


if __name__ == "__main__":
    write()
