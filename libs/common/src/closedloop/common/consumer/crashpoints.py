"""Named places where a test kills the process, so that every order of crash and commit is tried rather than hoped for."""

import os
from typing import Final, Literal, get_args

CrashPoint = Literal[
    "consumer.before_transaction",
    "consumer.after_fence",
    "consumer.after_effects",
    "consumer.after_dead_letters",
    "consumer.after_commit",
    "statements.before_commit",
    "statements.after_commit",
    "relay.before_publish",
    "relay.after_publish",
    "relay.after_delete",
]
CRASH_POINTS: Final[tuple[str, ...]] = get_args(CrashPoint)
EXIT_CODE: Final = 137
_armed = os.environ.get("CRASHPOINT", "")
_skip = int(os.environ.get("CRASHPOINT_SKIP", "0"))


def crashpoint(name: CrashPoint) -> None:
    """End the process at once, as SIGKILL would, where the environment's CRASHPOINT names this place.

    CRASHPOINT_SKIP lets the first n passes go by.
    """
    global _skip
    if name != _armed:
        return
    if _skip > 0:
        _skip -= 1
        return
    os._exit(EXIT_CODE)
