"""A test that lacks its tool is skipped where a user runs it, and fails in CI (CLOSEDLOOP_TOOLS_REQUIRED=1 of .ci/run)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_A_TOOL = "tests/deploy/test_prometheus.py::test_promtool_finds_nothing_wrong"


@pytest.mark.parametrize(("required", "exit_code", "said"), [("", 0, "1 skipped"), ("1", 1, "promtool is not installed: run")])
def test_what_is_not_installed(required: str, exit_code: int, said: str, tmp_path: Path) -> None:
    empty = {"XDG_CACHE_HOME": str(tmp_path), "PATH": str(tmp_path), "CLOSEDLOOP_TOOLS_REQUIRED": required}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", NEEDS_A_TOOL]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **empty}, capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert said in done.stdout


def test_ci_asks_for_all_of_them() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert "set -euo pipefail" in lines
    steps = [lines.index(line) for line in ("export CLOSEDLOOP_TOOLS_REQUIRED=1", "make deploy-tools", "make test")]
    assert steps == sorted(steps)
