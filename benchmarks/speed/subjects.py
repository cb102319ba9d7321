"""What speed is measured on: the reference networks, exported anew for a run, or any artifact."""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest, Reduced
from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines.cache import CACHE_VARIABLE
from runtime.images import UInt8Array
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

if TYPE_CHECKING:  # it imports torch, which `--artifact` needs not
    from benchmarks.speed.networks import Network

NETWORKS = ("dcgan64", "dcgan32", "resnet32", "vae32")
_SLOW = ("resnet32",)
_COMPARED = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """An artifact to measure, and the torch modules that it came from where they are known."""

    folder: Path
    artifact: Artifact
    network: "Network | None" = None

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    @property
    def name(self) -> str:
        """The reference network's, or the artifact's."""
        return self.manifest.name

    def inputs(self, graph: str, count: int) -> dict[str, NDArray[Any]]:
        """Ready made inputs of a graph: what `Model` would give it for seed 0."""
        made = examples_of(self.artifact, Counter(0, 0, count), graph=graph)
        if "images" in made:
            made["images"] = random_images(self.manifest, count)
        return made

    def fewer_if_slow(self, images: int) -> int:
        """So many images, or an eighth of them where each costs billions of operations."""
        return images // 8 if self.name in _SLOW else images

    def graph_file(self, graph: str) -> bytes:
        """The plain fp32 graph, as exported."""
        return self.artifact.files[self.manifest.graphs[graph].files["fp32"]]


def random_images(manifest: Manifest, count: int) -> UInt8Array:
    """Noise of the model's size: an encoder's speed does not depend on what it sees."""
    shape = (count, *manifest.image().shape)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--networks`, or `--artifact` instead."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--networks", nargs="+", choices=NETWORKS, help="reference networks, others than usual"
    )
    which.add_argument(
        "--artifact", type=Path, metavar="PATH", help="measure this artifact instead (no bars)"
    )


@contextmanager
def opened(
    options: argparse.Namespace, usual: Sequence[str], precisions: Sequence[Reduced] = ()
) -> Iterator[list[Subject]]:
    """The subjects that the options name, `usual` without; exported networks last as long as this.

    What engines measure of them is cached as long too, unless $LATENTSERVE_CACHE says where: a
    figure must not hang on what an earlier run found on a busy machine.
    """
    with tempfile.TemporaryDirectory(prefix="latentserve-benchmark-") as folder:
        os.environ.setdefault(CACHE_VARIABLE, str(Path(folder) / "cache"))
        try:
            if options.artifact is not None:
                artifact = read_artifact(options.artifact)
                yield [Subject(artifact.folder.resolve(), artifact)]
            else:
                names = options.networks or usual
                out = Path(folder) / "artifacts"
                yield [exported(name, out, precisions) for name in names]
        finally:
            if os.environ[CACHE_VARIABLE].startswith(folder):
                del os.environ[CACHE_VARIABLE]


def exported(name: str, out: Path, precisions: Sequence[Reduced] = ()) -> Subject:
    """A reference network as an artifact in the folder `out`.

    With `precisions` beside fp32: held against it over few images. Weights that are random need no
    more, and 10,000 of the slow network's take an hour.
    """
    from benchmarks.speed.networks import build
    from export import export
    from export.variants import add_variants

    network = build(name)
    folder = export(
        decode=network.decode,
        encode=network.encode,
        latent=network.latent,
        image=network.image,
        labels=network.labels,
        name=name,
        out=out,
        precisions=(),
    )
    if precisions:
        folder = add_variants(folder, precisions, images=_COMPARED)
    return Subject(folder, read_artifact(folder), network)
