"""Directions: the principal directions of a model's latent space."""

from dataclasses import dataclass

from runtime.artifact.manifest import Manifest
from runtime.batching.jobs import Job
from runtime.checks import short
from runtime.engines.backend import Tensors
from runtime.errors import InputError
from runtime.images import Float32Array
from runtime.images.volumes import as_pictures
from runtime.requests import sample
from runtime.requests.checks import Labels, check_labels
from runtime.requests.request import Described, images_of
from runtime.sampling.directions import PrincipalDirections, principal_directions, reduced

_SEED = 0
_PIXELS = 1 << 21
_FEWEST, _MOST = 96, 512


def answered_by(manifest: Manifest) -> bool:
    return sample.answered_by(manifest) and manifest.latent is not None


@dataclass(frozen=True)
class Directions:
    """The principal directions of a latent space, found from samples of one seed: of one class,
    the first unless `labels` names another (or of the first example of a prompt), and of the
    smallest size that the artifact has.

    Its job makes the samples' images, made smaller; `found` makes the directions of them.
    """

    labels: Labels | None = None

    def job(self, model: Described) -> Job[Float32Array]:
        """Images [n, h, w, C]; fewer where they are large."""
        job = self._sample(model).job(model)

        def finish(outputs: Tensors, start: int) -> Float32Array:
            return reduced(as_pictures(images_of(outputs)))

        return Job(job.graph, job.count, job.rows, finish, job.size)

    def found(self, model: Described, images: Float32Array) -> PrincipalDirections:
        """The directions, from all images of the job."""
        return principal_directions(self._sample(model).latents(model), images)

    def label(self, manifest: Manifest) -> int | None:
        """The index of the class; None for an unconditional model."""
        given = self.labels
        if given is None and manifest.labels is not None:
            return 0
        if isinstance(given, list | tuple) and len(given) != 1:
            raise InputError("labels", "one class", short(given))
        index = check_labels(manifest, given, 1)
        return None if index is None else int(index[0])

    def prompt(self, manifest: Manifest) -> str | None:
        """The first example of a model that reads prompts; None for another."""
        words = manifest.vocabulary
        return None if words is None else words.examples[0]

    def _sample(self, model: Described) -> sample.Sample:
        manifest = model.manifest
        if not answered_by(manifest):
            expected = "one with latents and a prior to draw them from"
            raise InputError("model", expected, manifest.name)
        size = size_of(manifest)
        image = manifest.image(manifest.smallest_size)
        n = max(_FEWEST, min(_MOST, _PIXELS // (image.height * image.width)))
        label, prompt = self.label(manifest), self.prompt(manifest)
        return sample.Sample(n, _SEED, labels=label, size=size, prompt=prompt)


def size_of(manifest: Manifest) -> list[int] | None:
    """[height, width] of the samples' images; None for an artifact whose images have one size."""
    if not manifest.axes:
        return None
    image = manifest.image(manifest.smallest_size)
    return [image.height, image.width]
