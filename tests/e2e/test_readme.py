"""Every code block of the README runs as written, in order; only ports and the state folder are this test's own."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from closedloop.local.addresses import Ports, variable_of
from closedloop.local.testing import temporary_folder

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
READY_WITHIN_S = 180


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    ports = Ports.free()
    with temporary_folder() as folder:
        own = {variable_of(name): str(port) for name, port in vars(ports).items()}
        yield {**os.environ, **own, "CLOSEDLOOP_VAR": str(folder)}


def as_written_but_for_ports(block: str, environment: dict[str, str]) -> str:
    for name, default in vars(Ports()).items():
        block = block.replace(f"127.0.0.1:{default}", f"127.0.0.1:{environment[variable_of(name)]}")
    return block


def test_every_block_of_the_readme_works(environment: dict[str, str], tmp_path: Path) -> None:
    run, *others = BLOCKS
    assert run.strip() == "make run"
    assert "```" in (ROOT / "README.md").read_text() and len(others) >= 6
    log = (tmp_path / "run.log").open("w+")
    system = subprocess.Popen(["make", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while "Everything is ready." not in Path(log.name).read_text():
            assert system.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()[-2000:]
            time.sleep(0.2)
        script = "set -euo pipefail\n" + "\n".join(as_written_but_for_ports(block, environment) + "\necho" for block in others)
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        for shown in (
            '"accepted":1',
            '"customer_id":"C0000123"',
            "claim_number",
            "dissatisfied_share",
            "top_up/unionpay_not_credited",
        ):
            assert shown in done.stdout, (shown, done.stdout[-4000:])
    finally:
        os.killpg(system.pid, signal.SIGINT)
        system.wait(30)
        log.close()
