"""The contract in git equals the contract in code: every type has a schema and an example that says what the decoder takes."""

import json
from datetime import UTC, datetime

import jsonschema_rs
import pytest

from closedloop.common.events import model
from closedloop.common.events.contract import FOLDER, example_file, schema_file, schema_of, text_of
from closedloop.common.events.decoder import check, decode_binary, decode_record, decode_structured
from closedloop.common.events.topics import INPUT_TOPICS, TOPICS, TYPE_BY_NAME, dead_letter_topics

NAMES = sorted(TYPE_BY_NAME)
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_in_git_is_the_one_that_the_code_makes(name: str) -> None:
    assert schema_file(name).read_text(encoding="utf-8") == text_of(schema_of(TYPE_BY_NAME[name])), "run `make schemas`"


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_valid_by_schema_and_by_decoder_in_both_modes(name: str) -> None:
    example = json.loads(example_file(name).read_text(encoding="utf-8"))
    jsonschema_rs.Draft202012Validator(schema_of(TYPE_BY_NAME[name])).validate(example)
    event = decode_structured(json.dumps(example).encode())
    assert type(event) is TYPE_BY_NAME[name]
    assert check(event, NOW) == datetime.fromisoformat(example["time"])
    data = json.dumps(example.pop("data")).encode()
    assert decode_binary(data, example) == event
    headers = [(f"ce_{key}", value.encode()) for key, value in example.items()]
    assert decode_record(data, headers) == event


def test_no_schema_or_example_is_orphaned() -> None:
    expected = {path.name for name in NAMES for path in (schema_file(name), example_file(name))}
    assert {path.name for path in FOLDER.iterdir()} == expected


@pytest.mark.parametrize("name", [n for n in NAMES if issubclass(TYPE_BY_NAME[n], model.InputEvent)])
def test_what_the_schema_refuses_the_decoder_refuses(name: str) -> None:
    example = json.loads(example_file(name).read_text(encoding="utf-8"))
    validator = jsonschema_rs.Draft202012Validator(schema_of(TYPE_BY_NAME[name]))
    for field, value in (("region", "New York"), ("phone", "138"), ("customer_class", "platinum"), ("customer_id", 7)):
        bad = {**example, "data": {**example["data"], field: value}}
        assert not validator.is_valid(bad), field
        with pytest.raises(ValueError, match=f"data.{field}"):
            check(decode_structured(json.dumps(bad).encode()), NOW)


def test_topics_are_named_for_metrics_and_inputs_are_kept_for_35_days() -> None:
    names = [topic.name for topic in (*TOPICS, *dead_letter_topics())]
    assert len(set(names)) == len(names)
    assert all("." not in name and "_" not in name for name in names)
    assert {topic.config()["retention.ms"] for topic in INPUT_TOPICS} == {str(35 * 24 * 3600 * 1000)}
    assert all(topic.config()["retention.ms"] == "-1" for topic in dead_letter_topics())
    assert all(topic.config()["message.timestamp.type"] == "LogAppendTime" for topic in TOPICS)
