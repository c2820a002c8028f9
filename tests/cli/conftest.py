"""Fixtures of the command line's tests."""

import sys
from collections.abc import Iterator

import pytest

from cli.commandline import Cli, Ran
from closedloop.cli.app import main
from closedloop.local.kafka import KafkaServer
from closedloop.local.ports import free_port


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("topics", "--create", KAFKA_BOOTSTRAP=…)` runs the command line in this process, with these variables."""
    for name in ("CLOSEDLOOP_TOKEN", "CLOSEDLOOP_ENV_FILE", "KPI_DATABASE_URL", "TICKETING_DATABASE_URL", "RECOVERY_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, **environment: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["closedloop", *map(str, arguments)])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def empty_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this module alone, without any topic."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), free_port(), overrides={"group.min.session.timeout.ms": "1000"})
    server.start()
    yield server
    server.stop()
