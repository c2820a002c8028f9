"""The AsyncAPI document says what the code does, is valid AsyncAPI 3.0, and can be read at ingest's /asyncapi."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from aiokafka.structs import ConsumerRecord

from closedloop.common.consumer.failures import Rejection
from closedloop.common.events.asyncapi import DEAD_LETTER, ERROR_HEADERS, document, text
from closedloop.common.events.topics import INPUT_TOPICS, TOPICS, TYPE_BY_NAME, dead_letter_topics
from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AuthSettings
from closedloop.ingest.main import build
from closedloop.ingest.settings import IngestSettings
from closedloop.local.issuer import Issuer
from contracts.asyncapi_specs import json_schema

IN_GIT = Path(__file__).resolve().parents[2] / "docs" / "asyncapi.json"
DOCUMENT = document()


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references(each)


def test_the_document_in_git_is_the_one_that_the_code_makes() -> None:
    assert IN_GIT.read_text(encoding="utf-8") == text(), "run `make schemas`"


def test_it_is_valid_asyncapi_and_a_slip_would_be_seen() -> None:
    validator = jsonschema_rs.Draft7Validator(json_schema())
    validator.validate(DOCUMENT)
    for path, wrong in (
        ("channels/evaluations/adress", "evaluations"),
        ("channels/evaluations/bindings/kafka/partitions", 0),
        ("operations/receive-evaluations/action", "listen"),
        ("components/schemas/evaluation.submitted.v1/type", "objekt"),
        ("components/securitySchemes/scram/type", "scram"),
    ):
        slipped = copy.deepcopy(DOCUMENT)
        *way, last = path.split("/")
        part = slipped
        for step in way:
            part = part[step]
        part[last] = wrong
        assert not validator.is_valid(slipped), path


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > len(TYPE_BY_NAME)
    for reference in found:
        assert resolved(reference)


def test_every_topic_and_type_stands_in_it_with_who_sends() -> None:
    letters = {topic.name for topic in dead_letter_topics()}
    assert set(DOCUMENT["channels"]) == {topic.name for topic in TOPICS} | letters
    for topic in TOPICS:
        messages = DOCUMENT["channels"][topic.name]["messages"]
        assert {TYPE_BY_NAME[name] for name in messages} == set(topic.types)
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        inputs = {topic.name for topic in INPUT_TOPICS}
        assert operation["action"] == ("receive" if channel.removeprefix("#/channels/") in inputs else "send")
        assert [reference["$ref"] for reference in operation["messages"]] == [
            f"{channel}/messages/{name}" for name in resolved(channel)["messages"]
        ]


@pytest.mark.parametrize("name", sorted(TYPE_BY_NAME))
def test_the_example_is_valid_by_the_schema_as_tools_read_it_here(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    [example] = message["examples"]
    validator = jsonschema_rs.Draft7Validator(resolved(message["payload"]["$ref"]))
    validator.validate(example["payload"])
    assert not validator.is_valid({**example["payload"], "data": {}})


def test_a_dead_letter_has_the_headers_that_are_told() -> None:
    record: Any = ConsumerRecord("evaluations", 0, 7, 0, 1, b"C1", b"{}", None, 2, 2, ())
    headers = dict(Rejection(record, "decode", "region", "is missing").headers("kpi"))
    assert list(headers) == list(ERROR_HEADERS) == DOCUMENT["components"]["messages"][DEAD_LETTER]["headers"]["required"]


async def test_ingest_shows_it_to_tools_and_to_people_without_a_token(tmp_path: Path) -> None:
    known = Issuer(tmp_path).environment()
    auth = AuthSettings(issuer=known["AUTH_ISSUER"], jwks_url=known["AUTH_JWKS_URL"])
    app = build(IngestSettings(), KafkaSettings(), auth)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        for accepted in ("*/*", "application/json", ""):
            answer = await client.get("/asyncapi", headers={"Accept": accepted})
            assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
            assert json.loads(answer.text) == DOCUMENT
        page = await client.get("/asyncapi", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in (*DOCUMENT["channels"], *TYPE_BY_NAME):
        assert f">{name}</h" in page.text
    assert "<b>customer_id</b>" in page.text and "<script" not in page.text and "http://" not in page.text.replace("http://…", "")
