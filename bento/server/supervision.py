"""The service is BentoML's supervisor, which holds the socket and starts a worker again when it
ends, and the workers, which serve: one, or several. All of these processes import the service."""

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

from bento.server.workers import Workers, check_workers, list_gpus, take_share
from bento.settings import Settings
from runtime.parent import end_with_parent

_SUPERVISOR = "_LATENTSERVE_SUPERVISOR"
"""Environment variable by which a worker knows the process that started it."""
_METRICS = "latentserve-metrics-"


def is_worker() -> bool:
    """Whether BentoML started this process to serve."""
    return server_context.worker_index is not None


def prepare_supervisor(settings: Settings) -> None:
    """What must be settled before BentoML starts the workers; nothing in a worker itself. Raises
    ValueError where the machine has not enough cores for them.

    The files in which metrics come together get a folder of their own: BentoML's is one for all
    services of a user, and is emptied at each start.
    """
    if is_worker():
        return
    check_workers(settings)
    list_gpus(settings)
    os.environ[_SUPERVISOR] = str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"{_METRICS}{os.getpid()}-{secrets.token_hex(4)}"
    BentoMLContainer.prometheus_multiproc_dir.set(str(folder))  # BentoML makes it, to serve
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def this_worker(settings: Settings) -> Workers:
    """Which worker this process is, with its share of the machine; the only one where BentoML did
    not start it as a worker."""
    # The successor of a worker that ended gets its number; BentoML's begin with 1.
    index, folder = server_context.worker_index, metrics_folder()
    if index is None or folder is None:
        return Workers(0, 1, Path())
    workers = Workers((index - 1) % settings.workers, settings.workers, folder)
    take_share(workers)
    return workers


def prepare_worker() -> None:
    """Have a worker end, as by SIGTERM, when its supervisor ends: nobody else would end it, and it
    would keep the port."""
    supervisor = _supervisor()
    if supervisor is not None:
        end_with_parent(supervisor, signal.SIGTERM)


def metrics_folder() -> Path | None:
    """Where the files of the workers' metrics are; None in a process that is no worker of ours."""
    folder = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    return folder if folder.name.startswith(_METRICS) else None


def tidy_worker() -> None:
    """Remove what the supervisor would have removed, had it not been killed."""
    folder = metrics_folder()
    if folder is not None and _supervisor() not in (None, os.getppid()):
        shutil.rmtree(folder, ignore_errors=True)


def _supervisor() -> int | None:
    stated = os.environ.get(_SUPERVISOR, "")
    return int(stated) if stated.isdecimal() else None


def refuse_to_start(reason: str) -> NoReturn:
    """End this process with one line on the standard error, and status 1."""
    # Said first: a supervisor that is ended ends its workers at once, in the middle of a word.
    print(reason, file=sys.stderr, flush=True)
    if is_worker():
        # The supervisor found nothing wrong, earlier; it would start the worker again for ever.
        os.kill(os.getppid(), signal.SIGTERM)
    sys.exit(1)
