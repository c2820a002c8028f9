"""The AsyncAPI document as one plain page: no script, nothing loaded from elsewhere."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2rem .6rem;text-align:left;vertical-align:top}"
    "pre{background:#f4f4f4;padding:.8rem;overflow:auto}h2{margin-top:3rem;border-top:2px solid #bbb}"
)
_DAY_MS: Final = 86_400_000


def page(document: dict[str, Any]) -> str:
    """HTML with every topic, its events' fields and an example of each."""
    return "\n".join(_lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    channels = document["channels"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title><style>{_STYLE}</style>'
    yield f"<h1>{escape(info['title'])}</h1>"
    yield from (f"<p>{escape(paragraph)}</p>" for paragraph in info["description"].split("\n\n"))
    yield "<p>The same for tools, as AsyncAPI 3.0: <code>curl http://…/asyncapi</code>. Fields in <b>bold</b> are required.</p><ul>"
    yield from (f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in channels)
    yield "</ul>"
    for name, channel in channels.items():
        kafka = channel["bindings"]["kafka"]
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(channel["description"])}</p>'
        yield f"<p>{kafka['partitions']} partitions, {_kept(kafka['topicConfiguration']['retention.ms'])}.</p>"
        for message in channel["messages"]:
            yield from _message(document["components"], message)


def _message(components: dict[str, Any], name: str) -> Iterator[str]:
    message = components["messages"][name]
    yield f"<h3>{escape(message['title'])}</h3>"
    if name not in components["schemas"]:
        yield f"<p>{escape(message['summary'])}</p>" + _table(message["headers"])
        return
    yield _table(components["schemas"][name]["properties"]["data"])
    yield from (f"<pre>{escape(json.dumps(one['payload'], indent=2, ensure_ascii=False))}</pre>" for one in message["examples"])


def _table(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        f"<tr><td>{f'<b>{escape(name)}</b>' if name in required else escape(name)}</td><td>{escape(_kind(field))}</td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table>{''.join(rows)}</table>"


def _kind(field: dict[str, Any]) -> str:
    """A field's schema in a few words."""
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    said = f"array of {_kind(field['items'])}" if "items" in field else str(field.get("type", "any"))
    more = field.get("description") or field.get("pattern")
    return f"{said}, {more}" if more else said


def _kept(retention_ms: int) -> str:
    return "kept without limit" if retention_ms < 0 else f"kept for {retention_ms // _DAY_MS} days"
