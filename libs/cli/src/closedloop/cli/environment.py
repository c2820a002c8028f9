"""Settings from a file of NAME=value lines, such as the one that `make run` leaves in var/env."""

import os
import shlex
from pathlib import Path

from closedloop.cli.problems import CommandFailed


def load_environment(path: Path) -> None:
    """Set what the file says and the environment does not. CommandFailed where it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise CommandFailed(f"The settings file {path} cannot be read ({error.strerror}); `make run` writes var/env.") from None
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = ["?"]
        for word in words:
            name, equals, value = word.partition("=")
            if word == "export":
                continue
            if not equals or not name.isidentifier():
                raise CommandFailed(f"{path}:{number}: a setting must be written NAME=value.")
            os.environ.setdefault(name, value)
