"""`python -m closedloop.<service> serve|migrate`. Only what is asked for is loaded: a migration needs nothing of what serves."""

import argparse
import pkgutil
import sys
from typing import Final

from pydantic import ValidationError

from closedloop.common.settings import wrong_settings

EXIT_REFUSED: Final = 78
MIGRATES: Final = "create or upgrade its schema and role (DATABASE_URL is the administrator's)"


def command_line(service: str, **others: str) -> None:
    """Run what the arguments ask for: `serve` of the service's module `main`, or one of `others` (name → what `--help` says of it),
    a function in the module of that name."""
    parser = argparse.ArgumentParser(prog=f"python -m closedloop.{service}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in {"serve": "run the service until SIGTERM", **others}.items():
        commands.add_parser(name, help=about)
    command = parser.parse_args().command
    try:
        pkgutil.resolve_name(f"closedloop.{service}.{'main' if command == 'serve' else command}:{command}")()
    except ValidationError as error:
        print(f"{service} cannot start: {wrong_settings(error)}.", file=sys.stderr)  # noqa: T201 (for whoever started it)
        sys.exit(EXIT_REFUSED)
