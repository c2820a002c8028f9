"""The `closedloop` command: its parts, and how a failure is told."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from closedloop.cli.dead_letters.commands import app as dead_letters
from closedloop.cli.environment import load_environment
from closedloop.cli.imports.command import EPILOG as IMPORT_EPILOG
from closedloop.cli.imports.command import import_command
from closedloop.cli.measurements.commands import app as measurements
from closedloop.cli.offsets.commands import app as offsets
from closedloop.cli.problems import CommandFailed
from closedloop.cli.topics import topics_command

EXIT_DEFECT: Final = 70

app = typer.Typer(
    name="closedloop",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="For those who connect systems to Closed Loop and those who operate it.",
)


@app.callback()
def settings(
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            envvar="CLOSEDLOOP_ENV_FILE",
            help="Settings such as KAFKA_BOOTSTRAP as NAME=value lines; `make run` writes var/env. The environment's own win.",
        ),
    ] = None,
) -> None:
    """Read the settings, before any command."""
    if env_file is not None:
        load_environment(env_file)


app.command("import", epilog=IMPORT_EPILOG)(import_command)
app.add_typer(measurements, name="measurements")
app.add_typer(dead_letters, name="dlq")
app.add_typer(offsets, name="offsets")
app.command("topics")(topics_command)


def main() -> None:
    """Run the command line. What stands in the way is one sentence on stderr and exit code 1."""
    # the clients' own logs would stand between the sentences
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        app()
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("CLOSEDLOOP_DEBUG"):
            raise
        print(
            f"A defect of closedloop: {type(error).__name__}. With CLOSEDLOOP_DEBUG=1 it says where; please report that.",
            file=sys.stderr,
        )
        sys.exit(EXIT_DEFECT)
