"""The Dockerfile without an engine: linted, and what its builder stage does is done here and the result started.

No image is built: there is no engine where these tests were written. What they show is that install.sh, which the builder stage
runs, brings exactly what a service needs, and that the result runs for a user who may do nothing on a root that cannot be written.
Here it is ingest; test_compose_started.py does the same with all of them.
"""

import ast
import importlib.metadata
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from closedloop.ingest.settings import IngestSettings
from closedloop.kpi.settings import KpiSettings
from closedloop.local.addresses import SERVICES
from closedloop.local.ports import free_port
from closedloop.local.testing import temporary_folder
from closedloop.recovery.settings import RecoverySettings
from closedloop.ticketing.settings import TicketingSettings
from deploy.confined import confined, needs_root
from deploy.installed import ADDRESSES, DOCKERFILE, ROOT, install, libraries, needed, variables

PACKAGES = {"common": "libs/common", "cli": "libs/cli"} | {name: f"services/{name}" for name in SERVICES}
BY_NAME = {
    "uvloop": "uvicorn's loop",
    "httptools": "uvicorn's parser",
    "greenlet": "SQLAlchemy's asyncio",
}
COMES_ALONG = {"starlette", "rfc9457"}  # with FastAPI and fastapi-problem, which say so


# --- the file ---


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_base_has_an_exact_version_that_the_services_accept() -> None:
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", image)
    assert version, f"{image} is not an exact version of python's slim image"
    assert (int(version[1]), int(version[2])) >= (3, 11)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON_IMAGE}"}


def test_it_runs_as_a_number_that_is_not_root_and_says_whether_it_is_healthy() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert "0" not in user
    assert re.search(r'^HEALTHCHECK .* CMD \["healthy"\]$', DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["service"]\nCMD ["serve"]' in DOCKERFILE


def test_it_listens_where_the_code_does() -> None:
    ports = {s.model_config["env_prefix"] + "PORT": str(s.model_fields["port"].default) for s in SETTINGS}
    assert ports | {name.replace("PORT", "HOST"): "0.0.0.0" for name in ports} == ADDRESSES  # noqa: S104
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert exposed.split() == sorted(ports.values())


SETTINGS = (IngestSettings, KpiSettings, TicketingSettings, RecoverySettings)


def test_the_builder_copies_only_what_the_context_has() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source.rstrip("/") for line in copied for source in line.split()}
    assert sources == allowed - {"deploy"}
    assert all((ROOT / source).exists() for source in sources)


# --- what a package declares is what it imports ---


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_declares_what_it_imports_and_nothing_else(package: str) -> None:
    imported = _imported(ROOT / PACKAGES[package] / "src")
    own = _declared(package)
    unused = own - set().union(*imported.values()) - set(BY_NAME)
    assert unused == set(), "declared and never imported: it would be in the image for nothing"
    missing = {module for module, names in imported.items() if not names & (own | _declared("common") | COMES_ALONG)}
    assert missing == set(), "imported and not declared: it would be missing in the image"


def _declared(package: str) -> set[str]:
    project = tomllib.loads((ROOT / PACKAGES[package] / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    return {name for name in names if not name.startswith("closedloop-")}


def _imported(sources: Path) -> dict[str, set[str]]:
    """The modules that are imported, each with the names of the libraries that have it."""
    distributions = importlib.metadata.packages_distributions()
    modules: set[str] = set()
    for path in sources.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    modules -= set(sys.stdlib_module_names) | {"closedloop"}
    return {module: {canonicalize_name(name) for name in distributions.get(module, ())} for module in modules}


# --- what the builder stage does ---


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    """What the image of ingest has as /venv."""
    with temporary_folder() as folder:
        yield install("ingest", folder)


def test_the_image_has_exactly_what_the_service_needs(environment: Path) -> None:
    assert libraries(environment) == needed("ingest")
    assert not {line.partition("==")[0] for line in needed("ingest")} & {"polars", "scipy", "alembic", "sqlalchemy", "openpyxl"}


def test_a_library_with_other_content_than_locked_is_refused(tmp_path: Path) -> None:
    for name in ("deploy", "libs", "local", "services", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    lock = (ROOT / "requirements.lock").read_text()
    block = re.search(r"^hatchling==.*?(?=^[a-z])", lock, re.MULTILINE | re.DOTALL)
    assert block
    (tmp_path / "requirements.lock").write_text(
        lock.replace(block[0], re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, block[0]))
    )
    with pytest.raises(subprocess.CalledProcessError) as refused:
        install("ingest", tmp_path / "image", source=tmp_path)
    assert "Hash mismatch for `hatchling" in refused.value.stderr


def test_the_service_starts_there(environment: Path) -> None:
    done = subprocess.run([environment / "bin/service", "--help"], capture_output=True, text=True, check=True, cwd="/", env={})
    assert "python -m closedloop.ingest" in done.stdout and "serve" in done.stdout


@needs_root
def test_it_runs_on_a_read_only_root_without_any_privilege(environment: Path) -> None:
    settings = {
        **variables("ingest", environment),
        "INGEST_PORT": str(free_port()),
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",  # no Kafka there: it lives, and is not ready
    }
    assert _exit_code(confined(["touch", environment / "touched"]), settings) != 0, "the root could be written"
    process = subprocess.Popen(
        confined(["service", "serve"]), cwd="/", env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 60
        while _exit_code(["healthy"], settings) != 0:
            assert process.poll() is None and time.monotonic() < deadline, "it does not live"
            time.sleep(0.1)
        assert _exit_code(["healthy", "/readyz"], settings) != 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, "asked to stop, it did not end cleanly"
    finally:
        process.kill()
        process.communicate()


def _exit_code(command: list[str], environment: dict[str, str]) -> int:
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, check=False).returncode
