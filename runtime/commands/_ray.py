"""`--ray`: the workers of a bulk job, on this machine or on a Ray cluster."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import read_artifact
from runtime.bulk.ledger import Ledger
from runtime.bulk.ray_data import LOCAL, Share, connected
from runtime.bulk.samples import BATCH, Samples
from runtime.bulk.workers import Engine, SampleGroups, forget_workers
from runtime.commands._arguments import engine_options, positive
from runtime.engines.backend import Variant
from runtime.limits import Limits
from runtime.loading import load
from runtime.requests.sample import Sample


def add_ray(parser: argparse._ActionsContainer) -> None:
    """`--ray` and `--workers`."""
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
    options = engine_options(args)
    with connected(args.ray) as cluster:
        share = cluster.share(args.workers, args.device)
        given = artifact.folder.resolve(), options, samples.request
        engine, rows = cluster.call(share, _chosen, *given)
        begin(artifact.manifest, engine.variant)
        ledger = Ledger(samples.out)
        size = ledger.chunk_sizes.get(BATCH, rows)
        work = SampleGroups(
            _shared(engine, args, share),
            replace(samples, out=samples.out.resolve(), writers=share.cores),
            size,
        )
        groups = samples.groups(ledger)
        busy, had = 0.0, 1e-9
        with tqdm(total=samples.request.counter.count, unit="img", disable=None) as bar:
            bar.update(ledger.pictures)
            told = cluster.made(share, work, [group._asdict() for group in groups])
            for group, each in zip(groups, told, strict=True):
                samples.finish(ledger, group, size)
                bar.update(group.end - group.first)
                busy, had = busy + each["busy"], had + each["had"]
    forget_workers(samples.out)
    return artifact.manifest, busy / had


def _shared(engine: Engine, args: argparse.Namespace, share: Share) -> Engine:
    """The engine as each worker has it: in runs of the same size, on its share of the cores."""
    limits = replace(engine.limits, runners=args.runners, threads=args.threads, cores=share.cores)
    return replace(engine, limits=limits)


def _chosen(artifact: Path, options: Mapping[str, Any], request: Sample) -> tuple[Engine, int]:
    """The engine that one process would choose where this is called, and the rows of one run."""
    with load(artifact, **options) as model:
        engine = Engine(artifact, model.variant, Limits(batch=model.max_batch))
        return engine, model.run_rows(request.job(model))
