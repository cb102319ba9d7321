"""A process that ends with the one that started it, however that one ends."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0


def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Have this process sent the signal `number` when `parent`, the process that started it, ends;
    at once where it has ended already.

    Linux does so by itself. Elsewhere a thread looks once a second whether the parent is another.
    """
    if not _told_by_the_system(number):
        watch = threading.Thread(
            target=_watch, args=(parent, number), name="latentserve-parent", daemon=True
        )
        watch.start()
    elif os.getppid() != parent:  # it ended before the system was told
        os.kill(os.getpid(), number)


def _told_by_the_system(number: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) == 0
    except (OSError, AttributeError):  # a C library that has no such function
        return False


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), number)
