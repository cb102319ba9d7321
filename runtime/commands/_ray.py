"""`--ray`: the workers of a bulk job, on this machine or on a Ray cluster."""

import argparse
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import read_artifact
from runtime.bulk.ledger import OPEN, Ledger
from runtime.bulk.network import Prepared
from runtime.bulk.pictures import Skipped
from runtime.bulk.pipeline import remaining
from runtime.bulk.places import Place
from runtime.bulk.ray_data import LOCAL, Share, connected
from runtime.bulk.samples import BATCH, Samples, groups_of
from runtime.bulk.sources import find
from runtime.bulk.workers import Engine, PictureGroups, SampleGroups, forget_workers
from runtime.commands._arguments import engine_options, positive
from runtime.engines.backend import Variant
from runtime.limits import Limits
from runtime.loading import load
from runtime.model import Model
from runtime.requests.sample import Sample


def add_ray(parser: Any) -> None:
    """`--ray` and `--workers`; `parser` may be a group of its arguments."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"with --shards: work on the Ray cluster at host:port, auto for this machine's, or "
        f"{LOCAL} for one that is started here (docs/bulk.md)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        help="with --ray: processes, each with a model (default one for each GPU, or else core)",
    )


def sample_by_ray(
    args: argparse.Namespace, samples: Samples, begin: Callable[[Manifest, Variant], None]
) -> tuple[Manifest, float]:
    """Write the shards by workers; whose they are, and how busy their engines were."""
    artifact = read_artifact(args.artifact)
    samples.request.job(artifact)  # what is wrong with it, before anything is started
    with connected(args.ray) as cluster:
        share = cluster.share(args.workers, args.device)
        folder = artifact.folder.resolve()
        variant, rows = cluster.call(share, _chosen, folder, engine_options(args), samples.request)
        begin(artifact.manifest, variant)
        ledger = Ledger(samples.out)
        size = ledger.chunk_sizes.get(BATCH, rows)
        work = SampleGroups(
            _engine(folder, variant, args, share),
            replace(samples, out=samples.out.resolve(), writers=share.cores),
            size,
        )
        groups, used = samples.groups(ledger), _Used()
        with tqdm(total=samples.request.counter.count, unit="img", disable=None) as bar:
            bar.update(ledger.pictures)
            made = cluster.made(share, work, [group._asdict() for group in groups])
            for group, told in zip(groups, made, strict=True):
                samples.finish(ledger, group, size)
                bar.update(group.end - group.first)
                used.add(told)
    forget_workers(samples.out)
    return artifact.manifest, used.busy


def work_by_ray(
    args: argparse.Namespace,
    place: Place,
    prepare: Callable[[argparse.Namespace, Model], Prepared],
    group_size: int,
    begin: Callable[[Manifest, Variant, Mapping[str, Any]], None],
) -> tuple[Ledger, float]:
    """Work on pictures by workers; what is done, and how busy their engines were."""
    artifact, out = read_artifact(args.artifact), place.folder
    images = [each if isinstance(each, str) else each.resolve() for each in args.images]
    found = find(images, args.column)
    with connected(args.ray) as cluster:
        share = cluster.share(args.workers, args.device)
        folder = artifact.folder.resolve()
        variant, same = cluster.call(share, _prepared, folder, engine_options(args), args, prepare)
        begin(artifact.manifest, variant, same)
        ledger = Ledger(out)
        shutil.rmtree(out / OPEN, ignore_errors=True)  # rows of a run without workers
        work = PictureGroups(
            _engine(folder, variant, args, share),
            partial(prepare, args),
            images,
            args.column,
            out.resolve(),
            args.strict,
            args.max_pixels,
            share.cores,
            ledger.chunk_sizes,
        )
        count = sum(1 for _ in remaining(found.items, ledger.done))
        groups = list(groups_of(ledger, ledger.pictures + count, group_size))
        used = _Used()
        with tqdm(total=ledger.pictures + count, unit="img", disable=None) as bar:
            bar.update(ledger.pictures)
            for told in cluster.made(share, work, [group._asdict() for group in groups]):
                ledger.add(
                    pictures=told["pictures"],
                    last_key=told["last_key"],
                    skipped=[Skipped(0, **each) for each in told["skipped"]],
                    shards=told["shards"],
                    chunk_sizes=told["chunk_sizes"],
                    keys=told["keys"],
                )
                bar.update(told["pictures"])
                used.add(told)
    forget_workers(out)
    return ledger, used.busy


class _Used:
    """How busy the engines of all workers were while they were there."""

    def __init__(self) -> None:
        self._busy, self._had = 0.0, 1e-9

    def add(self, told: Mapping[str, Any]) -> None:
        """What a worker says with a group."""
        self._busy += told["busy"]
        self._had += told["had"]

    @property
    def busy(self) -> float:
        return self._busy / self._had


def _engine(folder: Path, variant: Variant, args: argparse.Namespace, share: Share) -> Engine:
    """The engine as each worker has it: in the runs of one process, on its share of the cores."""
    limits = Limits(args.batch, runners=args.runners, threads=args.threads, cores=share.cores)
    return Engine(folder, variant, limits)


def _chosen(artifact: Path, options: Mapping[str, Any], request: Sample) -> tuple[Variant, int]:
    """The engine that one process would choose where this is called, and the rows of one run."""
    with load(artifact, **options) as model:
        return model.variant, model.run_rows(request.job(model))


def _prepared(
    artifact: Path,
    options: Mapping[str, Any],
    args: argparse.Namespace,
    prepare: Callable[[argparse.Namespace, Model], Prepared],
) -> tuple[Variant, Mapping[str, Any]]:
    """The engine that one process would choose where this is called, and `Prepared.same`."""
    with load(artifact, **options) as model:
        return model.variant, prepare(args, model).same
