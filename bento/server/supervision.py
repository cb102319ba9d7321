"""The service is two processes: BentoML's supervisor, which holds the socket and starts the worker
again when it ends, and the worker, which serves. Both import the service."""

import atexit
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context

from runtime.parent import end_with_parent

_SUPERVISOR = "_LATENTSERVE_SUPERVISOR"
"""Environment variable by which the worker knows the process that started it."""
_METRICS = "latentserve-metrics-"


def prepare_supervisor() -> None:
    """What must be settled before BentoML starts the worker; nothing in the worker itself.

    The files in which metrics come together get a folder of their own: BentoML's is one for all
    services of a user, and is emptied at each start.
    """
    if _is_worker():
        return
    os.environ[_SUPERVISOR] = str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"{_METRICS}{os.getpid()}-{secrets.token_hex(4)}"
    BentoMLContainer.prometheus_multiproc_dir.set(str(folder))  # BentoML makes it, to serve
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def prepare_worker() -> None:
    """Have the worker end, as by SIGTERM, when its supervisor ends: nobody else would end it, and
    it would keep the port."""
    supervisor = _supervisor()
    if supervisor is not None:
        end_with_parent(supervisor, signal.SIGTERM)


def tidy_worker() -> None:
    """Remove what the supervisor would have removed, had it not been killed."""
    metrics = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if _supervisor() not in (None, os.getppid()) and metrics.name.startswith(_METRICS):
        shutil.rmtree(metrics, ignore_errors=True)


def _supervisor() -> int | None:
    stated = os.environ.get(_SUPERVISOR, "")
    return int(stated) if stated.isdecimal() else None


def refuse_to_start(reason: str) -> NoReturn:
    """End this process with one line on the standard error, and status 1."""
    if _is_worker():
        # The supervisor found nothing wrong, earlier; it would start the worker again for ever.
        os.kill(os.getppid(), signal.SIGTERM)
    sys.exit(reason)


def _is_worker() -> bool:
    return server_context.worker_index is not None
