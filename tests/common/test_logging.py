"""What is logged is one JSON object a line, and holds no phone number wherever one slipped in."""

import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from closedloop.common.telemetry.logging import configure_logging, mask_phones


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "text",
    [
        "the phone 13912345678.",
        "Key (phone)=(13912345678) exists",
        "+8613912345678",
        "tel:+86 139 1234 5678, twice",
        "13912345678",
    ],
)
def test_a_phone_number_in_a_text_is_masked(text: str) -> None:
    assert "1234" not in mask_phones(text)
    assert "78" in mask_phones(text)


@pytest.mark.parametrize(
    "text",
    ["1732608000.123456", "550e8400-e29b-41d4-a716-446655440000", "2026-11-20 11:20:49", "10.0.0.7:9092", "C13912345678"],
)
def test_what_is_no_phone_number_stays(text: str) -> None:
    assert mask_phones(text) == text


def test_every_logger_writes_json_without_phone_numbers(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("test")
    structlog.get_logger().info(
        "told", data={"phone": "+8613912345678", "all": ["13912345678"]}, phone=13912345678, offset=12345678901
    )
    logging.getLogger("uvicorn.error").error("failed for +8613912345678")
    try:
        raise ValueError("Key (phone)=(+8613912345678) exists")
    except ValueError:
        structlog.get_logger().exception("failed")
    lines = capsys.readouterr().out.splitlines()
    first = msgspec.json.decode(lines[0])
    assert first["data"] == {"phone": "***78", "all": ["***78"]}
    assert (first["phone"], first["offset"], first["service"]) == ("***", 12345678901, "test")
    assert [msgspec.json.decode(line)["level"] for line in lines] == ["info", "error", "error"]
    assert not any("139" in line for line in lines)
