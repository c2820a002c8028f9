"""Becomes another program after the settings that must be made inside the child itself.

Run as a script by `closedloop.local.launch`, never imported:  launcher.py PARENT DEATH_SIGNAL UID GID PROGRAM [ARG…]

It asks the kernel to end the child with its parent, and gives up root where UID is not -1. A function between fork and
exec (preexec_fn) could do the same but may deadlock in a process with threads. Only the standard library, so it starts
in milliseconds.
"""

import ctypes
import os
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


def _drop_root(libc: ctypes.CDLL, uid: int, gid: int, program: str) -> None:
    """From root to `uid`; where that user cannot reach the program (a checkout below /root), it keeps the right to."""
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.access(program, os.X_OK) and os.access(Path.cwd(), os.R_OK | os.X_OK):
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):  # a container often has only the second
        bit = 1 << capability
        sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then the upper halves
        if libc.capset(header, sets) == 0 and libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0:
            return


def main() -> None:
    parent, death_signal, uid, gid = (int(argument) for argument in sys.argv[1:5])
    program = sys.argv[5:]
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != -1:
        _drop_root(libc, uid, gid, program[0])
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)  # after the change of user, which clears it
        if os.getppid() != parent:
            sys.exit(1)  # the parent died before we could ask
    try:
        os.execv(program[0], program)  # noqa: S606
    except PermissionError:
        sys.exit(
            f"the user that root gives way to cannot reach {program[0]}: put this checkout into a folder that others may "
            "enter, or start it as another user than root"
        )


main()
