"""Fixtures for all tests: see closedloop.local.testing. On the machine of CI a test that is skipped fails."""

import os
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler import LoadFileScheduling

from schemas import Schemas

pytest_plugins = ("closedloop.local.testing",)

# a test judges what happens, not how long it takes: the machine may be busy
hypothesis.settings.register_profile("closedloop", deadline=None)
hypothesis.settings.load_profile("closedloop")

# a traceback as rich draws it takes a tenth of a second, and most of them nobody looks at
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# brokers that live for a minute: what Java's second compiler would make fast costs more than it saves
os.environ.setdefault("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseG1GC -XX:TieredStopAtLevel=1")

TOOLS_REQUIRED = os.environ.get("CLOSEDLOOP_TOOLS_REQUIRED") == "1"
"""Set by .ci/run, once `make deploy-tools` has installed everything: what skips then would be checked by nobody."""
MAY_BE_ABSENT = {
    "cli/test_import_command.py",
    "e2e/test_import_of_real_complaints.py",
    "kpi/test_catalogue_shipped.py",
    "kpi/test_published_values.py",
    "kpi/test_report_prints.py",
    "ticketing/domain/test_burst_real_data.py",
    "ticketing/test_real_complaints.py",
}
"""Each has a test on published data, which is no part of the repository, or with a browser: neither need be where CI runs."""


@pytest.fixture(scope="session")
def schemas(postgres_admin_url: str) -> Iterator[Schemas]:
    """Migrated databases on the shared server."""
    schemas = Schemas(postgres_admin_url)
    yield schemas
    schemas.close()


LONG = ("faults", "deploy", "e2e")
"""Folders whose files take minutes each: begun first, so that none is left for the end, when two workers would wait for it."""


ON_ONE_STACK = ("tests/e2e/test_demo.py", "tests/e2e/test_guide.py", "tests/e2e/test_least_privilege.py")
"""Their one worker starts the stack of tests/e2e/conftest.py once."""


class _ByStack(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return ON_ONE_STACK[0] if file in ON_ONE_STACK else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """A file's tests go to one worker, as do files that share a stack."""
    return _ByStack(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long ones first; otherwise as they were found."""
    tests = config.rootpath / "tests"
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.relative_to(tests).parts[0], len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if TOOLS_REQUIRED and report.skipped and not hasattr(report, "wasxfail") and not _may_be_absent(item):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"Nothing may be missing here (CLOSEDLOOP_TOOLS_REQUIRED=1). {reason}"
    return report


def _may_be_absent(item: pytest.Item) -> bool:
    return item.path.relative_to(item.config.rootpath / "tests").as_posix() in MAY_BE_ABSENT
