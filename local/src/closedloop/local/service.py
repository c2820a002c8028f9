"""One of our services as a process of the stack."""

import http.client
import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from closedloop.local.child import Child
from closedloop.local.part import Part


class Service(Part):
    """`python -m closedloop.<name> serve` on one port. `instance` tells several of the same service apart.

    `python` runs it: that of the checkout whose version it is. Set anew, it holds from the next start on.
    """

    def __init__(
        self, name: str, port: int, environment: Mapping[str, str], var: Path, instance: str = "", python: str = sys.executable
    ) -> None:
        self.name = name
        self.label = self.title = f"{name}-{instance}" if instance else name
        self.port = port
        self.python = python
        own = {
            f"{name.upper()}_PORT": str(port),
            # A static member of its consumer group: after a SIGKILL it takes its partitions back at once, where the
            # group would otherwise wait for the lost member's session to run out.
            f"{name.upper()}_GROUP_MEMBER": self.label,
            "PYTHONUNBUFFERED": "1",
            # as in the images: without it each of the threads takes memory from, and leaves gaps in, a heap of its own
            "MALLOC_ARENA_MAX": "2",
        }
        self._environment = {**environment, **own}
        self._var = var
        super().__init__(Child(self.label, var / "log" / f"{self.label}.log", var / "run" / f"{self.label}.pid"))

    @property
    def url(self) -> str:
        """http://127.0.0.1:<port>"""
        return f"http://127.0.0.1:{self.port}"

    def launch(self, extra: Mapping[str, str] | None = None) -> None:
        """Start without waiting; `extra` environment variables are for this start only (CRASHPOINT, …)."""
        command = [self.python, "-m", f"closedloop.{self.name}", "serve"]
        self._child.start(command, {**self._environment, **(extra or {})}, self._var)

    def not_ready(self) -> str | None:
        """None where /readyz answers 200."""
        status, body = self.readiness() or (0, "")
        return None if status == HTTPStatus.OK else _told(body)

    def wait_working(self, seconds: float = 60) -> None:
        """Until it is ready and notes nothing that keeps it from its work, such as that Kafka is away. Likewise."""

        def not_working() -> str | None:
            status, body = self.readiness() or (0, "")
            return None if status == HTTPStatus.OK and not json.loads(body)["notes"] else _told(body)

        self._wait(not_working, seconds)

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


def _told(body: str) -> str:
    return f"/readyz says: {body[:300]}" if body else ""
