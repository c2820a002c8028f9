"""The service as a process, with its own issuer of tokens."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from closedloop.local.issuer import Issuer
from closedloop.local.ports import free_port

READY_S = 40.0


def _start(
    folder: Path, issuer: Issuer, port: int, kafka_bootstrap: str, recovery_url: str, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "RECOVERY_DATABASE_URL": recovery_url,
        "RECOVERY_PORT": str(port),
        # the broker waits for a member that died; the next with its name takes its place at once
        "RECOVERY_GROUP_MEMBER": "recovery-tests",
        "RECOVERY_SESSION_TIMEOUT_MS": "6000",
        **issuer.environment(),
        **environment,
    }
    with (folder / "recovery.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "closedloop.recovery", "serve"], env={**os.environ, **settings}, stdout=log, stderr=log
        )


async def run_until_crash(folder: Path, kafka_bootstrap: str, recovery_url: str, point: str) -> int:
    """The exit code of a process that dies at a named place."""
    process = _start(folder, Issuer(folder / "issuer"), free_port(), kafka_bootstrap, recovery_url, {"CRASHPOINT": point})
    try:
        return await asyncio.to_thread(process.wait, READY_S)
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def recovery_process(
    folder: Path, kafka_bootstrap: str, recovery_url: str, **environment: str
) -> AsyncIterator[tuple[httpx2.AsyncClient, Issuer, "subprocess.Popen[bytes]"]]:
    """A client of a service that is ready, the issuer of its tokens, its process. Ends it with SIGTERM."""
    issuer, port = Issuer(folder / "issuer"), free_port()
    process = _start(folder, issuer, port, kafka_bootstrap, recovery_url, environment)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            await _until_ready(client, process, folder / "recovery.log")
            yield client, issuer, process
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _until_ready(client: httpx2.AsyncClient, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx2.HTTPError):
            if (await client.get("/readyz")).status_code == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the service is not ready: {await asyncio.to_thread(log.read_text)}")
        await asyncio.sleep(0.05)


def bearer(issuer: Issuer, role: str, subject: str, *regions: str) -> dict[str, str]:
    """The header of a token; without regions it covers all."""
    return {"Authorization": f"Bearer {issuer.mint(role, subject, regions or ('*',))}"}
