"""No telephone number is ever printed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.cli.masking import masked, shown_bytes

SPELLINGS = [
    "+8613812345678",
    "8613812345678",
    "13812345678",
    "138 1234 5678",
    "138-1234-5678",
    "(+86) 138 1234 5678",
    "138.1234.5678",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "around", ["{}", '{{"comment": "call me: {}, please"}}', "tel{}x", '{{"phone":"{}"', "电话{}。", "\x01{}\x7f"]
)
def test_a_number_is_masked_however_it_is_written_and_wherever_it_stands(spelling: str, around: str) -> None:
    shown = shown_bytes(around.format(spelling).encode(), 500)
    assert "1234" not in shown
    assert "38 1" not in shown
    assert "*" in shown


@settings(deadline=None)
@given(st.integers(10**6, 10**15), st.sampled_from(["", " ", "-", ") ", ". "]), st.text(max_size=10), st.text(max_size=10))
def test_seven_digits_and_more_never_stay_readable(number: int, separator: str, before: str, after: str) -> None:
    digits = str(number)
    written = separator.join([digits[:3], digits[3:6], digits[6:]])
    shown = masked(f"{before}x{written}x{after}")
    assert written not in shown
    assert "*" * 3 in shown


def test_a_number_that_was_sent_as_a_json_number_or_in_escapes_is_masked() -> None:
    assert "1234" not in shown_bytes(b'{"phone": 13812345678}', 500)
    assert "1234" not in shown_bytes(
        b'{"comment": "\\u0031\\u0033\\u0038\\u0031\\u0032\\u0033\\u0034\\u0035\\u0036\\u0037\\u0038"}', 500
    )
    assert "123" not in shown_bytes(b'{"mobile": "123-45"}', 500)


def test_what_is_needed_to_find_an_event_stays_readable() -> None:
    event = {"id": "e-1", "time": "2026-11-20T08:00:00+08:00", "region": "NJ", "score": 7, "customer_id": "C0123"}
    text = json.dumps(event)
    assert masked(text) == text


def test_bytes_that_are_no_text_are_shown_as_escapes_and_long_payloads_are_cut() -> None:
    assert shown_bytes(b"\xff\x00a", 100) == "\\xff\\x00a"
    assert shown_bytes(b"x" * 1000, 10) == "x" * 10 + "… (1000 bytes in all)"
    assert "tombstone" in shown_bytes(None, 10)
