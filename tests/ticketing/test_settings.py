"""What the settings take the triggers can use; the rest is refused when the service starts."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from closedloop.ticketing.settings import TicketingSettings


@given(rate=st.floats(), customers=st.integers(), ratio=st.floats())
def test_whatever_the_settings_take_the_batch_trigger_can_use(rate: float, customers: int, ratio: float) -> None:
    try:
        settings = TicketingSettings(false_alarms_per_month=rate, batch_least_customers=customers, batch_least_ratio=ratio)
    except ValidationError:
        return
    assert 0 <= settings.burst.p_limit(60) < 1


@pytest.mark.parametrize("rate", ["2", "0", "nan"])
def test_more_false_alarms_than_are_calibrated_are_refused_at_the_start_with_a_sentence(rate: str) -> None:
    environment = {**os.environ, "TICKETING_FALSE_ALARMS_PER_MONTH": rate}
    command = [sys.executable, "-m", "closedloop.ticketing", "serve"]
    started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 78
    assert "ticketing cannot start: TICKETING_FALSE_ALARMS_PER_MONTH: Input should be" in started.stderr


def test_as_many_as_the_rule_is_calibrated_for_are_taken() -> None:
    assert TicketingSettings(false_alarms_per_month=1).burst.false_alarms_per_month == 1
