"""Settings come from the environment; secrets may stand in files, as Kubernetes and Docker mount them."""

from pathlib import Path

import pytest

from closedloop.common.kafka.client import KafkaSettings
from closedloop.common.settings import AdministratorSettings
from closedloop.kpi.settings import KpiSettings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KPI_DATABASE_URL", "KAFKA_SASL_PASSWORD", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_secret_is_read_from_the_file_of_its_variable(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "KPI_DATABASE_URL").write_text("postgresql://kpi:from-file@db/closedloop\n")
    (secrets / "KAFKA_SASL_PASSWORD").write_text("also-from-file")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "closedloop-kpi")
    (secrets / "DATABASE_URL").write_text("postgresql://admin:too@db/closedloop")
    password = KafkaSettings().sasl_password
    assert password is not None
    assert password.get_secret_value() == "also-from-file"
    assert KpiSettings().database_url.get_secret_value() == "postgresql://kpi:from-file@db/closedloop"
    assert AdministratorSettings().database_url.get_secret_value() == "postgresql://admin:too@db/closedloop"


def test_a_variable_that_is_set_goes_before_a_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "KPI_DATABASE_URL").write_text("postgresql://kpi:from-file@db/closedloop")
    monkeypatch.setenv("KPI_DATABASE_URL", "postgresql://kpi:set@db/closedloop")
    assert KpiSettings().database_url.get_secret_value() == "postgresql://kpi:set@db/closedloop"


def test_a_folder_of_secrets_that_is_not_there_is_named(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(secrets / "not-mounted"))
    with pytest.raises(SystemExit, match=r"SECRETS_DIR: .*not-mounted is not a folder"):
        KpiSettings()
