"""One of our services as a process of the stack."""

import http.client
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from closedloop.local.child import Child
from closedloop.local.problems import LocalStackError


class Service:
    """`python -m closedloop.<name> serve` on one port. `instance` tells several of the same service apart."""

    def __init__(self, name: str, port: int, environment: Mapping[str, str], var: Path, instance: str = "") -> None:
        self.name = name
        self.label = f"{name}-{instance}" if instance else name
        self.port = port
        own = {
            f"{name.upper()}_PORT": str(port),
            # A static member of its consumer group: after a SIGKILL it takes its partitions back at once, where the
            # group would otherwise wait for the lost member's session to run out.
            f"{name.upper()}_GROUP_MEMBER": self.label,
            "PYTHONUNBUFFERED": "1",
        }
        self._environment = {**environment, **own}
        self._var = var
        self._child = Child(self.label, var / "log" / f"{self.label}.log", var / "run" / f"{self.label}.pid")

    @property
    def url(self) -> str:
        """http://127.0.0.1:<port>"""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs or was never started; negative: the signal that ended it."""
        return self._child.exit_code

    @property
    def log(self) -> Path:
        return self._child.log

    def launch(self, extra: Mapping[str, str] | None = None) -> None:
        """Start without waiting; `extra` environment variables are for this start only (CRASHPOINT, …)."""
        command = [sys.executable, "-m", f"closedloop.{self.name}", "serve"]
        self._child.start(command, {**self._environment, **(extra or {})}, self._var)

    def start(self, extra: Mapping[str, str] | None = None, seconds: float = 60) -> None:
        """Start and wait until it is ready."""
        self.launch(extra)
        self.wait_ready(seconds)

    def wait_ready(self, seconds: float = 60) -> None:
        """Until /readyz answers 200. LocalStackError where it ends or takes longer."""
        self._wait_until(lambda status, _: status == 200, seconds)

    def wait_working(self, seconds: float = 60) -> None:
        """Until it is ready and notes nothing that keeps it from its work, such as that Kafka is away. Likewise."""
        self._wait_until(lambda status, body: status == 200 and not json.loads(body)["notes"], seconds)

    def _wait_until(self, is_enough: Callable[[int, str], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            answer = self.readiness()
            if answer is not None and is_enough(*answer):
                return
            if not self._child.running:
                raise LocalStackError(f"{self.label} ended while it started ({self.complaint()}); its log is {self.log}.")
            if time.monotonic() > deadline:
                said = f" (/readyz says: {answer[1][:300]})" if answer else ""
                raise LocalStackError(f"{self.label} is not ready after {seconds:.0f} s{said}; its log is {self.log}.")
            time.sleep(0.05)

    def readiness(self) -> tuple[int, str] | None:
        """Status and body of /readyz; None where nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        self._child.ask_to_stop()

    def stop(self, seconds: float = 15) -> bool:
        """SIGTERM, SIGKILL after the time. True where it ended by itself."""
        return self._child.stop(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._child.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._child.resume()

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code once it has ended (a crash point: 137). TimeoutError otherwise."""
        return self._child.wait(seconds)

    def complaint(self) -> str:
        """The last thing in its log that is an error, else the last thing. Our services log JSON lines."""
        fallback = "it said nothing"
        for line in reversed(self._child.last_lines(50)):
            try:
                record = json.loads(line)
            except ValueError:
                if line.strip():
                    return line.strip()
                continue
            if isinstance(record, dict):
                said = ": ".join(str(record[key]) for key in ("event", "reason") if key in record)
                if record.get("level") in ("error", "critical"):
                    return said
                fallback = said if fallback == "it said nothing" else fallback
        return fallback
