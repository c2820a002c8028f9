"""What a body says that it is."""

import pytest

from closedloop.common.events.rules import Refused
from closedloop.ingest.domain.media import Media, binary_attributes, media_of


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        (b"application/json", Media.JSON),
        (b"application/cloudevents+json; charset=UTF-8", Media.STRUCTURED),
        (b'Application/CloudEvents-Batch+JSON ;charset="utf-8"', Media.BATCH),
        (b"application/x-ndjson", Media.NDJSON),
        (b"application/json; charset=gb18030", None),
        (b"text/plain", None),
        (b"application/cloudevents+avro", None),
        (b"", None),
    ],
)
def test_media_types_and_their_characters(content_type: bytes, media: Media | None) -> None:
    assert media_of(content_type) is media


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"plain", "plain"),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b'"quoted \\"words\\" %41"', 'quoted "words" A'),
        (b"100%25", "100%"),
        ("京".encode(), "京"),
    ],
)
def test_values_of_headers_are_unquoted_and_percent_decoded_once(header: bytes, value: str) -> None:
    assert binary_attributes({b"ce-subject": header, b"content-type": b"application/json"})["subject"] == value


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        (b"ce-id", b"%FF", "ce-id"),
        (b"ce-id", b"a%00b", "ce-id"),
        (b"ce-data", b"x", "ce-data"),
        (b"ce-some-thing", b"x", "ce-some-thing"),
    ],
)
def test_headers_that_are_no_attributes_are_refused_by_name(name: bytes, value: bytes, field: str) -> None:
    with pytest.raises(Refused) as refused:
        binary_attributes({name: value})
    assert refused.value.field == field
