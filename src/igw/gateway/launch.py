"""How a child process is started so that it dies with us, however we die. What it runs is the caller's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# Not a preexec_fn: that would run Python in a fork of a process with gRPC's threads in it, which now and then crashes.
_LAUNCH = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


def dying_with_us(command: Sequence[str]) -> list[str]:
    """Return *command* (its first word an absolute path) wrapped so that Linux kills it when this process ends (prctl(2))."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]
