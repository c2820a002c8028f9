"""Running a service: its background jobs beside its HTTP app in one process, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import structlog
import uvicorn
from starlette.types import ASGIApp

from closedloop.common.command_line import EXIT_REFUSED
from closedloop.common.consumer.failures import Kind, PositionRefused, classify
from closedloop.common.http.protocol import HttpProtocol
from closedloop.common.settings import ServerSettings
from closedloop.common.telemetry import metrics
from closedloop.common.telemetry.logging import configure_logging
from closedloop.common.telemetry.tracing import configure_tracing

log = structlog.get_logger()
STOP_JOBS_S: Final = 12.0
STOP_LATE_JOB_S: Final = 1.0
LAG_PROBE_S: Final = 0.5
EXIT_FAILED: Final = 70
_exit_code = 0


class Job(Protocol):
    """Something that runs beside the HTTP app."""

    async def run(self) -> None:
        """Until `stop`."""

    def stop(self) -> None:
        """Ask `run` to finish what it has in hand and return."""


@contextlib.asynccontextmanager
async def jobs_running(**jobs: Job) -> AsyncIterator[None]:
    """Run the jobs; on exit stop them in the order given. A job that ends by itself ends the process: it is then restarted."""
    tasks = {name: asyncio.create_task(job.run(), name=name) for name, job in jobs.items()}
    probe = asyncio.create_task(_probe_loop_lag())
    stopping = False
    told: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        global _exit_code
        if stopping:
            return
        told.add(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PositionRefused):
            _exit_code = EXIT_REFUSED
            log.critical("refused to start", reason=str(error))
            print(str(error), file=sys.stderr, flush=True)  # noqa: T201 (the sentence for whoever started it)
        else:
            _exit_code = EXIT_FAILED
            log.critical("job ended", job=task.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)

    for task in tasks.values():
        task.add_done_callback(ended)
    try:
        yield
    finally:
        stopping = True
        probe.cancel()
        deadline = time.monotonic() + STOP_JOBS_S
        for name, job in jobs.items():
            job.stop()
            _, running = await asyncio.wait([tasks[name]], timeout=max(STOP_LATE_JOB_S, deadline - time.monotonic()))
            if running:
                log.error("job did not stop in time", job=name)
                tasks[name].cancel()
        # a cancelled job may hang all the same: in asyncpg, while PostgreSQL is frozen
        done, _ = await asyncio.wait([probe, *tasks.values()], timeout=STOP_LATE_JOB_S)
        for task in done - told:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("job failed while it stopped", job=task.get_name(), exc_info=error)


class Every:
    """A job that repeats an action at an interval until stopped. An outage is waited out; a bug ends the job."""

    def __init__(self, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
        self._interval_s = interval_s
        self._action = action
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End `run` after the action in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Act, wait, act."""
        while not self._stopping.is_set():
            try:
                await self._action()
            except Exception as error:
                if classify(error) is not Kind.WAIT:
                    raise
                log.warning("waiting", during=getattr(self._action, "__qualname__", "job"), error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval_s)


async def _probe_loop_lag() -> None:
    worst = 0.0
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_PROBE_S)
        worst = max(worst * 0.9, time.perf_counter() - before - LAG_PROBE_S)
        metrics.LOOP_LAG.set(worst)


def serve(service: str, app: ASGIApp, settings: ServerSettings) -> None:
    """Run the app until SIGTERM or SIGINT; exits with a code that says whether it failed."""
    configure_logging(service, settings.log_level)
    configure_tracing(service)
    # after its clean stop uvicorn raises the signal again; by default that would hide the exit code
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_exit_code))
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=8,
    )
    sys.exit(_exit_code)
