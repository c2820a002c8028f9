#!/usr/bin/env python3
"""An upgrade without downtime, run for real: from the version of a git revision to the one of this checkout.

    .venv/bin/python deploy/upgrade/drill.py --from v1.4.0

On a Kafka and a PostgreSQL of its own (free ports, a temporary folder) it starts two processes of each service of the old version,
sends events and asks questions without a pause, runs the new version's migrations beside the old processes, and then replaces one
process after the other. Between these steps a breach is provoked, and awaited with its ticket. With `--back` it then returns to the
old version, service by service in the other order, on the schemas of the new one. At the end no request may have failed, every
event must be counted once, every recovery, ticket and statement stand there once, all be read and said, nothing be a dead letter.

A service that a pending migration wants stopped (a line `stop: <service>` in its docstring) is stopped for the migrations, all its
processes, and how long is told; `--ignore-stops` leaves it running and shows what that does.

What it saw goes to standard output, how far it is to standard error. Exit code 0: it held; 1: it did not; 2: it could not be run.
It needs git and `make setup` done here, and takes about seven minutes. The old version is set up by its own `make setup` in a git
worktree, which is removed at the end.
"""

import argparse
import contextlib
import functools
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # the clients and the checker are those of the tests

from closedloop.common.events.topics import dead_letter_topics
from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.problems import LocalStackError
from closedloop.local.service import Service
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder
from deploy.expanding import migrations_of, stops_of
from deploy.rolling import Clients
from deploy.watching import (
    CONSUMING,
    breaches,
    calm_events,
    caught_up,
    check_counted,
    failing_orders,
    orders_of_now,
    records_taken,
    send,
    services_of,
    shares,
)
from faults import checker
from faults.evidence import wait_until
from faults.indicators import RULES
from faults.reading import read_topic, said
from faults.traffic import Event, Sent

SESSION_S = 6
WITHIN_S = 120
EVENTS = 100_000
LETTERS = [topic.name for topic in dead_letter_topics()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="revision", required=True, help="the old version: a tag, branch or commit")
    parser.add_argument(
        "--order",
        default="ticketing,kpi,recovery,ingest",
        help="of the services, by commas; a reader of a new event type before its publisher (default: %(default)s)",
    )
    parser.add_argument("--ignore-stops", action="store_true", help="stop nothing that migrations declare")
    parser.add_argument("--stop", action="append", default=[], choices=CONSUMING, help="stop this service too; may be given again")
    parser.add_argument("--back", action="store_true", help="then back to the old version; not where a service must be stopped")
    parser.add_argument("--logs", type=Path, help="a folder to make, for the logs of all processes")
    options = parser.parse_args()
    order = options.order.split(",")
    if sorted(order) != sorted(SERVICES):
        refuse(f"--order must name each of {', '.join(SERVICES)} once.")
    try:
        with checked_out(options.revision) as old, temporary_folder() as folder:
            declared = pending_stops(old)
            stopped = set(options.stop) if options.ignore_stops else declared | set(options.stop)
            if options.back and declared:
                refuse(f"--back: there is no way back over a step that wants {', '.join(sorted(declared))} stopped.")
            settings = {f"{name.upper()}_SESSION_TIMEOUT_MS": str(SESSION_S * 1000) for name in CONSUMING}
            python = str(old / ".venv" / "bin" / "python")
            tell("starting the old version: Kafka, PostgreSQL, two processes of each service")
            try:
                with Stack(folder, Ports.free(), settings, python=python) as stack:
                    Drill(stack, order, stopped, back_to=python if options.back else None).run()
            finally:
                if options.logs and (folder / "log").exists():
                    shutil.copytree(folder / "log", options.logs, dirs_exist_ok=True)
    except (AssertionError, LocalStackError, OSError, http.client.HTTPException) as error:
        print(f"It did not hold: {str(error) or type(error).__name__}")
        sys.exit(1)
    print("It held: no request failed, every event is counted once, all was read and said, nothing is a dead letter.")


class Drill:
    """One run. AssertionError, or LocalStackError where a process does not start, says what did not hold."""

    def __init__(self, stack: Stack, order: Sequence[str], stopped: set[str], *, back_to: str | None = None) -> None:
        self._stack, self._order, self._stopped, self._back_to = stack, order, stopped, back_to
        self._began = datetime.now(UTC)
        self._sent = Sent()
        self._incidents = 0
        self._processes = {name: (stack.service(name), stack.add_instance(name, "b", Ports.free().of(name))) for name in SERVICES}
        for _, second in self._processes.values():
            second.launch()
        for _, second in self._processes.values():
            second.wait_ready(WITHIN_S)
        self._clients = Clients(self._processes, stack.token("admin"), calm_events(2, EVENTS), self._sent)

    def run(self) -> None:
        """Old version, migrations, mixed versions, new version, perhaps the way back, then the reckoning."""
        before = self._formulas()
        for name in CONSUMING:
            wait_until(functools.partial(self._shared, name), WITHIN_S, f"both processes of {name} have partitions")
        self._clients.start()
        try:
            self._provoke("with the old version")
            self._migrate()
            began = time.monotonic()
            self._provoke("with old processes on the new schema")
            for name in self._order:
                if name not in self._stopped:
                    self._roll(name, sys.executable)
            mixed_s = time.monotonic() - began
            self._provoke("with the new version")
            if self._back_to:
                for name in reversed(self._order):
                    self._roll(name, self._back_to)
                self._provoke("with the old version again, on the new schema")
        finally:
            self._clients.finish()
        print(f"Old processes served on the new schema, then beside new ones, for {mixed_s:.0f} s.")
        self._reckon(before)

    def _migrate(self) -> None:
        away = [process for name in self._order if name in self._stopped for process in self._processes[name]]
        away_since = time.monotonic()
        for process in away:
            tell(f"stopping {process.label}, all of its service")
            self._clients.take_out(process)
            assert process.stop(20), f"{process.label} did not end by itself"
        began = time.monotonic()
        tell("migrating to the new version beside what serves")
        self._stack.migrate(sys.executable)
        print(f"Migrations took {time.monotonic() - began:.1f} s.")
        for process in away:
            process.python = sys.executable
            process.launch()
        for process in away:
            process.wait_working(WITHIN_S)
            self._clients.put_in(process)
        if away:
            names = ", ".join(sorted(self._stopped))
            print(f"Stopped for them: {names}, for {time.monotonic() - away_since:.0f} s.")

    def _roll(self, name: str, python: str) -> None:
        """One process of the service after the other; between them both versions share its work."""
        first, second = self._processes[name]
        self._replace(first, python)
        if name in CONSUMING:
            wait_until(lambda: self._shared(name), WITHIN_S, f"an old and a new process of {name} share its partitions")
            stayed, came = records_taken(second), records_taken(first)
            self._provoke(f"with an old and a new process of {name}")
            stayed, came = records_taken(second) - stayed, records_taken(first) - came
            assert min(stayed, came) > 0, f"{name}: of an old and a new process one read nothing ({stayed} and {came} records)"
            print(f"{name}: while both versions ran, the process that stayed took {stayed} records, the replaced one {came}.")
        self._replace(second, python)

    def _replace(self, process: Service, python: str) -> None:
        tell(f"replacing {process.label}")
        process.python = python
        answered = self._clients.replace(process, WITHIN_S)
        assert answered > 0, f"nobody asked while {process.label} was away"

    def _provoke(self, when: str) -> None:
        """Orders fail in a region of its own: awaited until kpi has said so and ticketing has opened a ticket."""
        self._incidents += 1
        number, began = self._incidents, time.monotonic()
        self._send(failing_orders(number))

        def told_of() -> bool:
            self._still_asking()
            # kpi states a minute when another one is over, so event time must go on
            self._send(orders_of_now(f"{number}-{time.monotonic()}"))
            time.sleep(1)
            return self._opened(number)

        wait_until(told_of, WITHIN_S, f"{failing(number)} is breached and has a ticket, {when}")
        tell(f"{when}: a breach and its ticket after {time.monotonic() - began:.0f} s")

    def _send(self, events: Sequence[Event]) -> None:
        send(self._stack, events, self._sent)

    def _opened(self, number: int) -> bool:
        if not any(event["subject"] == failing(number) for event in said(self._stack.bootstrap, "indicators")):
            return False
        return any(event["data"]["regions"] == [f"X{number}"] for event in said(self._stack.bootstrap, "tickets"))

    def _still_asking(self) -> None:
        if self._clients.error:
            raise AssertionError(f"a request failed: {self._clients.error}") from self._clients.error

    def _formulas(self) -> dict[str, list[str | None]]:
        """Indicator → what is counted of which events, as kpi shows it. Reworded, it is another, and begins anew."""
        seen = services_of(self._stack)
        shown = ("topic", "filter", "numerator", "denominator")
        return {entry["id"]: [entry.get(name) for name in shown] for entry in seen.all_of(seen.kpi, "/v1/indicators?")}

    def _reckon(self, formulas_before: Mapping[str, list[str | None]]) -> None:
        stack, services = self._stack, services_of(self._stack)
        answered, left_out = self._clients.answered, self._clients.left_out
        print(f"{sum(answered.values())} requests were answered as they should, none failed: {told(answered)}.")
        if left_out:
            print(f"Not asked, as the service was stopped: {told(left_out)}.")
        tell("waiting until all is read and said")
        wait_until(lambda: caught_up(stack), WITHIN_S, "all was read and the outboxes are empty")
        formulas = self._formulas()
        among = {name for name in RULES if formulas_before.get(name) == formulas.get(name)}
        moved, tickets = check_counted(stack, services, self._sent, among)
        recoveries = checker.check_recoveries(services, self._sent, self._began)
        assert len(moved) > 5, moved
        print(
            f"{len(self._sent.good)} events: {len(among)} indicators that both versions count alike are exact, {len(moved)} moved, "
            f"{recoveries} recoveries, {sum(tickets.values())} tickets, each once."
        )
        for number in range(1, self._incidents + 1):
            told_of = [event for event in breaches(stack) if event["subject"] == failing(number)]
            assert len(told_of) == 1, f"the breach of X{number} was stated {len(told_of)} times"
        print(f"{self._incidents} breaches that were provoked in turn were stated once each.")
        letters = {topic: sum(1 for _ in read_topic(stack.bootstrap, topic)) for topic in LETTERS}
        assert not any(letters.values()), f"dead letters: {told(letters)}"

    def _shared(self, name: str) -> bool:
        held = shares(self._stack, name)
        return len(held) == len(self._processes[name]) and all(held.values())


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The revision in a git worktree of its own, set up."""
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        refuse(f"git knows no revision '{revision}' here: give a tag, a branch or a commit (a shallow clone lacks old ones).")
    commit = found.stdout.strip()
    with temporary_folder() as folder:
        old = folder / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        tell(f"checking out {commit[:10]} and setting it up")
        run([*git, "add", "--quiet", "--detach", str(old), commit], folder / "log")
        try:
            # a venv of its own, whatever its lock says; nothing of ours may lead into it
            kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
            run(["make", "-C", str(old), "setup"], folder / "log", kept)
            print(f"From {commit[:10]} ({subject_of(commit)}) to the checkout at {subject_of('HEAD')}.", flush=True)
            yield old
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=False, capture_output=True)


def run(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
    with log.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False)
    if done.returncode != 0:
        refuse(f"{' '.join(command)} failed: {' '.join(log.read_text(errors='replace').splitlines()[-3:])}")


def subject_of(revision: str) -> str:
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%h of %cs", revision]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def pending_stops(old: Path) -> set[str]:
    """Tells which migrations the old version lacks; the services that one of them wants stopped."""
    stops: set[str] = set()
    for name in CONSUMING:
        before = {path.name for path in migrations_of(name, old)}
        pending = [path for path in migrations_of(name) if path.name not in before]
        overtaken = [path.stem for path in pending if path.name < max(before)]
        assert not overtaken, f"{name}'s {', '.join(overtaken)} would never run: the old version is past its place in the chain"
        if pending:
            print(f"Pending: {name} {', '.join(path.stem for path in pending)}.")
        for path in pending:
            stops |= stops_of(path)
    return stops


def failing(number: int) -> str:
    """The subject that the orders of `failing_orders` breach."""
    return f"order_failure_rate?region=X{number}"


def told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def refuse(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
