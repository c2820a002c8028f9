"""The contract of the topics as an AsyncAPI 3.0 document, made from the same types, rules and topics that the services run on.

ingest serves it at /asyncapi. `python -m closedloop.common.events.asyncapi` prints it; docs/asyncapi.json is that text (`make
schemas`), and a test fails where git and code differ.
"""

import json
import sys
from typing import Any, Final

from closedloop.common.events.contract import example_file, schema_of, text_of
from closedloop.common.events.decoder import STRUCTURED_CONTENT_TYPE
from closedloop.common.events.model import Event
from closedloop.common.events.rules import MAX_EVENT_BYTES
from closedloop.common.events.topics import INPUT_TOPICS, TOPICS, TYPE_BY_NAME, Topic, dead_letter_topics

DEAD_LETTER: Final = "dead_letter"
ERROR_HEADERS: Final = {
    "x-error-topic": "where the record stood",
    "x-error-partition": "where the record stood",
    "x-error-offset": "where the record stood",
    "x-error-consumer": "the service that could not take it",
    "x-error-stage": "decode, rules, data, late or bug",
    "x-error-class": "the field or the kind of error, such as data.score",
    "x-error-message": "what was wrong; never the record's own text",
    "x-error-attempts": "how often it was tried",
    "x-error-first-seen": "when, RFC 3339",
}
_KAFKA: Final = "0.5.0"
"""The version of AsyncAPI's Kafka bindings."""
_DESCRIPTION: Final = f"""\
Events are CloudEvents 1.0 in JSON, at most {MAX_EVENT_BYTES} bytes, keyed as each channel says and partitioned by murmur2 (Java's
default; `partitioner=murmur2_random` in librdkafka). What stands here is structured mode: the whole event in the value. Binary mode
is taken, too: the attributes in `ce_*` headers, `data` in the value.

An event that comes again (same `source` and `id`) has its effect once. Readers of what Closed Loop says do likewise: after a crash
an event may come twice, always with the same id; `sequence` orders the events of one `subject`."""


def document() -> dict[str, Any]:
    """The whole document. Receive and send are seen from Closed Loop: it receives the inputs and sends the rest."""
    letters = dead_letter_topics()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Closed Loop events",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": STRUCTURED_CONTENT_TYPE,
        "servers": {
            "local": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "The local stack (`make run`)."},
            "production": {
                "host": "{bootstrap}",
                "protocol": "kafka-secure",
                "description": "Your own cluster: SASL/SCRAM over TLS, one principal per client.",
                "variables": {"bootstrap": {"description": "host:port, several separated by commas"}},
                "security": [{"$ref": "#/components/securitySchemes/scram"}],
            },
        },
        "channels": {
            **{topic.name: _channel(topic, _names(topic)) for topic in TOPICS},
            **{topic.name: _channel(topic, [DEAD_LETTER]) for topic in letters},
        },
        "operations": {
            **{_operation_name(topic): _operation(topic, _names(topic)) for topic in TOPICS},
            **{_operation_name(topic): _operation(topic, [DEAD_LETTER]) for topic in letters},
        },
        "components": {
            "messages": {**{name: _message(name, cls) for name, cls in TYPE_BY_NAME.items()}, DEAD_LETTER: _dead_letter()},
            "schemas": {name: _payload(cls) for name, cls in TYPE_BY_NAME.items()},
            "securitySchemes": {"scram": {"type": "scramSha512"}},
        },
    }


def text() -> str:
    """As it stands in git and is served."""
    return text_of(document())


def _names(topic: Topic) -> list[str]:
    return [name for name, cls in TYPE_BY_NAME.items() if cls in topic.types]


def _channel(topic: Topic, messages: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = topic.config()
    config["cleanup.policy"] = [config["cleanup.policy"]]
    for name in ("retention.ms", "max.message.bytes"):
        config[name] = int(config[name])
    readers = f" Read by {', '.join(topic.consumers)}." if topic.consumers else ""
    return {
        "address": topic.name,
        "description": f"{topic.description} Key: {topic.key}.{readers}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": config, "bindingVersion": _KAFKA}},
    }


def _operation_name(topic: Topic) -> str:
    return f"{_action(topic)}-{topic.name}"


def _action(topic: Topic) -> str:
    return "receive" if topic in INPUT_TOPICS else "send"


def _operation(topic: Topic, messages: list[str]) -> dict[str, Any]:
    return {
        "action": _action(topic),
        "summary": topic.description,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{name}"} for name in messages],
    }


def _message(name: str, cls: type[Event]) -> dict[str, Any]:
    [topic] = [topic for topic in TOPICS if cls in topic.types]
    example = json.loads(example_file(name).read_text(encoding="utf-8"))
    return {
        "name": name,
        "title": name,
        "summary": str(schema_of(cls)["description"]),
        "contentType": STRUCTURED_CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {
                "content-type": {"const": STRUCTURED_CONTENT_TYPE},
                "traceparent": {"type": "string", "description": "W3C trace context, where the event itself carries none"},
            },
        },
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"name": name, "payload": example}],
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _KAFKA}},
    }


def _payload(cls: type[Event]) -> dict[str, Any]:
    # AsyncAPI's own schema language holds all that ours use, so no other dialect needs to be named
    return {key: value for key, value in schema_of(cls).items() if key != "$schema"}


def _dead_letter() -> dict[str, Any]:
    return {
        "name": DEAD_LETTER,
        "title": "A record that a service could not take",
        "summary": "Key, value and headers as they came, and in further headers why and from where.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": list(ERROR_HEADERS),
            "properties": {name: {"type": "string", "description": what} for name, what in ERROR_HEADERS.items()},
        },
        "payload": {"description": "the record's value, bytes unchanged"},
    }


if __name__ == "__main__":
    sys.stdout.write(text())
