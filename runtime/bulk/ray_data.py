"""Ray Data as the engine of a bulk job: groups go to workers, on this machine or on many.

A worker is an actor of Ray's with one model, and makes whole groups; the process of the command
keeps the job's ledger and hands out what that lacks. How many groups are on their way is Ray
Data's affair. Workers find artifact, pictures and the job's folder under the same paths.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from runtime.bulk import packages
from runtime.engines.library import Device
from runtime.errors import InputError, LatentServeError
from runtime.machine import cores

P = ParamSpec("P")
T = TypeVar("T")

LOCAL = "local"
_CONNECT_SECONDS = 5.0
_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The frame of HTTP/2 (RFC 9113, section 6.5) that both sides begin with; its fourth byte is the
kind. Ray speaks gRPC, which stands on HTTP/2."""
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
_STORE_BYTES = 100_000_000
"""Of the memory that local workers share: only numbers of groups go through it."""
_BLOCKS = 10_000
"""Ray Data keeps books of every block: of a job of more groups, each has several."""


class Work(Protocol):
    """What a worker does; it is pickled."""

    def __call__(self, group: Mapping[str, int]) -> Mapping[str, Any]:
        """Make a group; what is to be noted of it, as JSON has it."""
        ...


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each of them has."""

    workers: int
    cores: int
    gpus: int = 0


class Cluster:
    """A running Ray, which this process is connected with."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def share(self, workers: int | None, device: Device) -> Share:
        """What each of so many workers gets, by default one for each GPU or else for each core.
        InputError where there are too few."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return shared(nodes, workers, device)

    def call(self, share: Share, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function on a machine where a worker may be."""
        remote = self._ray.remote(num_cpus=share.cores, num_gpus=share.gpus)(function)
        with self._errors():
            return self._ray.get(remote.remote(*args, **kwargs))

    def made(
        self, share: Share, work: Work, groups: Sequence[Mapping[str, int]]
    ) -> Iterator[Mapping[str, Any]]:
        """What `work` gives for each group, in their order. A group is named by its `number`; the
        first one's is the smallest, and none is left out."""
        if not groups:
            return
        data: Any = packages.ray("data")
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.raise_original_map_exception = True
        given = data.from_items(list(groups), override_num_blocks=min(len(groups), _BLOCKS))
        done = given.map_batches(
            _Worker,
            fn_constructor_args=(work,),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=min(share.workers, len(groups))),
            num_cpus=share.cores,
            num_gpus=share.gpus,
        )
        waiting: dict[int, str] = {}
        due = groups[0]["number"]
        with self._errors():
            for row in done.iter_rows():
                waiting[row["number"]] = row["made"]
                while due in waiting:
                    yield json.loads(waiting.pop(due))
                    due += 1

    @contextmanager
    def _errors(self) -> Generator[None]:
        """A worker's own error instead of Ray's about it."""
        try:
            yield
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, LatentServeError):
                raise
            # Ray Data writes behind the message how often it tried.
            error.cause.args = (str(error.cause).partition("\nFailed to apply")[0],)
            raise error.cause from None


class _Worker:
    """The actor: Ray Data makes one in each process, and calls it with one group at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        group = {name: int(value) for name, (value,) in batch.items()}
        return {"number": [group["number"]], "made": [json.dumps(self._work(group))]}


@contextmanager
def connected(address: str) -> Generator[Cluster]:
    """The Ray cluster at `host:port` (or `auto`: the one that this machine belongs to), or one that
    is started here and ends afterwards (`local`). InputError where Ray is missing or none is
    there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = packages.ray()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        ray.init(
            address=LOCAL,
            num_cpus=cores(),
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    else:
        _reach(address)
        try:
            ray.init(address=address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            reason = f"{error}".partition("\n")[0]
            hint = "; with tokens, it needs RAY_AUTH_MODE=token here too"
            raise _unreachable(address, f"{reason}{hint}") from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def shared(nodes: Sequence[Mapping[str, float]], workers: int | None, device: Device) -> Share:
    """The share of each worker in nodes with so many CPUs (and GPUs): as many cores as let all of
    them run at once."""
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    on_gpu = device != "cpu" and sum(gpus) > 0
    if device == "cuda" and not on_gpu:
        raise InputError("device", "a Ray cluster with GPUs", "none in it")
    places = gpus if on_gpu else cpus

    def fitting(each: int) -> int:
        return sum(min(place, cpu // each) for place, cpu in zip(places, cpus, strict=True))

    most = fitting(1)
    wanted = workers or most
    if not 1 <= wanted <= most:
        expected = f"at most {most}, one for each {'GPU' if on_gpu else 'core'} of the cluster"
        raise InputError("--workers", expected, f"{wanted}")
    each = max(n for n in range(1, max(cpus) + 1) if fitting(n) >= wanted)
    return Share(wanted, each, int(on_gpu))


def _reach(address: str) -> None:
    """InputError where nobody listens at an address, or nobody like Ray: it would try for
    minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdecimal():
        raise _unreachable(address, "no such address")
    try:
        with socket.create_connection((host, int(port)), _CONNECT_SECONDS) as connection:
            connection.sendall(_HELLO)
            answer = connection.recv(len(_SETTINGS), socket.MSG_WAITALL)
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from error
    if answer[3:4] != _SETTINGS[3:4]:
        raise _unreachable(address, "something else listens there")


def _unreachable(address: str, reason: str) -> InputError:
    expected = "`local`, `auto`, or host:port of a running Ray cluster (`ray start --head` says it)"
    return InputError("--ray", expected, f"{address!r} ({reason})")
