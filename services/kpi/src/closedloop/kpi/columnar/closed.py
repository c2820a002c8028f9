"""Event structs that refuse unknown keys, made from the common model.

What they decode, the common decoder decodes to the same values; and all its keys are known, each with its type checked, so
that only duplicates remain to be ruled out. An event with a key that the contract does not know is fine, but goes the common
decoder's way.
"""

import functools
import operator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from closedloop.common.events.model import Event
from closedloop.common.events.topics import Topic, data_type


def _closed(cls: type[Struct], replaced: dict[str, Any], *, alone: bool = False) -> type[Struct]:
    """`alone`: no union tells this type from others. Then `type` is a field of one possible value: looked for as a tag it costs a
    sixth of the decoding, and of a struct that stands alone msgspec would not even require it."""
    fields: list[Any] = []
    for info in msgspec.structs.fields(cls):
        kind = replaced.get(info.name, info.type)
        fields.append((info.name, kind) if info.required else (info.name, kind, info.default))
    config = cls.__struct_config__
    if alone:
        fields.append((config.tag_field, Literal[config.tag]))
    return msgspec.defstruct(
        f"Closed{cls.__name__}",
        fields,
        tag_field=None if alone else config.tag_field,
        tag=None if alone else config.tag,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
        kw_only=True,
    )


class ClosedEvents:
    """The closed event types of one topic, and their decoder."""

    def __init__(self, topic: Topic) -> None:
        alone = len(topic.types) == 1
        closed = {_closed(cls, {"data": _closed(data_type(cls), {})}, alone=alone): cls for cls in topic.types}
        union: Any = functools.reduce(operator.or_, closed)
        self.decode: Final[Any] = msgspec.json.Decoder(union).decode
        self.model: Final[dict[type[Any], type[Event]]] = {**closed, **{cls: cls for cls in topic.types}}
        """Closed or common class → the common class."""
        envelopes = [set(cls.__struct_fields__) | {"type"} for cls in topic.types]
        data = [set(data_type(cls).__struct_fields__) for cls in topic.types]
        self.keys: Final = frozenset[str]().union(*envelopes, *data)
        self.required: Final = frozenset.intersection(*(_required(cls) for cls in topic.types))
        if any(envelope & fields for envelope in envelopes for fields in data):
            raise TypeError(f"{topic.name}: a key of the envelope is one of the data; duplicate keys could not be told apart")


def _required(cls: type[Event]) -> frozenset[str]:
    fields = [*msgspec.structs.fields(cls), *msgspec.structs.fields(data_type(cls))]
    return frozenset({"type"} | {info.name for info in fields if info.required})
