"""Who waits, who is late or about to be, told by region; settings as an operator gives them."""

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from closedloop.recovery.settings import RecoverySettings
from recovery.desk import HOUR, MINUTE, START, Desk, rating


def gauge(name: str, region: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"region": region})


async def test_who_is_about_to_be_late_is_shown_before_it_happens(desk: Desk) -> None:
    real_now = await desk.pool.fetchval("SELECT clock_timestamp()")
    desk.now = real_now
    await desk.take(
        rating("overdue", real_now - 2 * HOUR - MINUTE, region="NJ"),
        rating("soon", real_now - HOUR - 45 * MINUTE, region="NJ"),
        rating("soon, and held", real_now - HOUR - 50 * MINUTE, region="SZ"),
        rating("in time", real_now - HOUR, region="SZ"),
    )
    await desk.claim("ann", ["SZ"])
    await desk.upkeep.measure()
    assert (gauge("recovery_due_soon", "NJ"), gauge("recovery_overdue", "NJ"), gauge("recovery_waiting", "NJ")) == (1, 1, 2)
    assert (gauge("recovery_due_soon", "SZ"), gauge("recovery_overdue", "SZ"), gauge("recovery_waiting", "SZ")) == (1, 0, 1)
    assert REGISTRY.get_sample_value("recovery_claimed") == 1
    oldest = REGISTRY.get_sample_value("recovery_oldest_waiting_seconds")
    assert oldest is not None
    assert 0 <= oldest < 60


async def test_who_was_tried_once_is_late_no_more(desk: Desk) -> None:
    desk.now = await desk.pool.fetchval("SELECT clock_timestamp()")
    await desk.take(rating("C1", desk.now - 3 * HOUR, region="NJ"))
    claim = await desk.claim("ann")
    assert claim is not None
    await desk.call("ann", claim, "no_answer")
    await desk.upkeep.measure()
    assert gauge("recovery_overdue", "NJ") in (0, None)
    assert REGISTRY.get_sample_value("recovery_deferred") == 1


async def test_only_so_many_regions_are_named_and_the_rest_is_one(desk: Desk) -> None:
    await desk.take(*(rating(f"C{n}-{m}", START, region=f"R{n}") for n in range(6) for m in range(n + 1)))
    await desk.upkeep.measure()
    assert [gauge("recovery_waiting", f"R{n}") for n in range(6)] == [None, None, None, 4, 5, 6]
    assert gauge("recovery_waiting", "other") == 6


def test_settings_are_read_as_an_operator_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_CONTACT_LIMITS", '[{"at_most": 2, "hours": 12}]')
    monkeypatch.setenv("RECOVERY_RETRIES_S", "[60, 120]")
    monkeypatch.setenv("RECOVERY_COUNTY_REGIONS", '["NJ-LS"]')
    rules = RecoverySettings().rules()
    assert [(limit.at_most, limit.window) for limit in rules.limits] == [(2, 12 * HOUR)]
    assert (rules.max_attempts, rules.county_regions) == (3, frozenset({"NJ-LS"}))
    monkeypatch.setenv("RECOVERY_CONTACT_LIMITS", "[]")
    with pytest.raises(ValidationError):
        RecoverySettings()


def test_contacts_are_kept_as_long_as_a_limit_looks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_RETENTION_DAYS", "100")
    monkeypatch.setenv("RECOVERY_CONTACT_LIMITS", '[{"at_most": 20, "hours": 2400}]')
    assert RecoverySettings().kept().closed == 2400 * HOUR
    monkeypatch.setenv("RECOVERY_CONTACT_LIMITS", '[{"at_most": 20, "hours": 2401}]')
    with pytest.raises(ValidationError, match="RECOVERY_RETENTION_DAYS"):
        RecoverySettings()
