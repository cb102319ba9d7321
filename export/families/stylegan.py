"""A mapping and a synthesis network (StyleGAN 1, 2 and 3) as one decoder.

Shapes: B batch, w the length of a style; styles are [B, w], or [B, layers, w] where each layer of
the synthesis network takes its own.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.causes import described_error
from export.modules.draws import GivenNormals
from export.modules.frozen import frozen_copy
from export.modules.outputs import described, outputs_of
from runtime.errors import ExportError
from runtime.requests.inputs import drawn_labels
from runtime.sampling.streams import Counter, Stream, normals

logger = logging.getLogger(__name__)

MEAN_LATENTS, MEAN_SEED = 10_000, 0
"""The mean style is that of so many latents of this seed."""
_BATCH = 500
_TRIAL = 2


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """How the two networks are called.

    `layers`: styles [B, w] are repeated for so many layers. `truncation_cutoff`: only the layers
    below it are truncated. `one_hot`: the mapping network takes classes as one-hot floats. The
    `arguments` are passed by name: `{"c": None}`, `{"noise_mode": "const"}`.
    """

    layers: int | None = None
    truncation_cutoff: int | None = None
    one_hot: bool = False
    mapping_arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    synthesis_arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


class StyleGAN(nn.Module):
    """Latents [B, *latent] (and labels [B]), a truncation [B] and noise -> images [B, C, H, W].

    A truncation psi moves the styles towards their mean: mean + psi (w - mean). 1 changes nothing.
    Where each layer has a style (`mixes`), two more inputs stand before the noise: latents
    [B, *latent], and the first layer that has their style [B].
    `noise` are the shapes of what the synthesis network takes behind the styles. Normal random
    numbers that it draws itself become further noise inputs; `self.noise` lists them all.
    """

    mean: Tensor
    truncated: Tensor

    def __init__(
        self,
        mapping: nn.Module,
        synthesis: nn.Module,
        options: StyleOptions,
        latent: Sequence[int],
        *,
        classes: int = 0,
        noise: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.mapping, self.synthesis = frozen_copy(mapping), frozen_copy(synthesis)
        self.options, self.classes = options, classes
        self.given = len(noise)
        self.eval()
        mean = self._mean(tuple(latent))
        self.register_buffer("mean", mean)
        self.register_buffer("truncated", self._truncated(mean))
        self.mixes = mean.ndim == 2
        self.noise, self.image_shape = self._tried([tuple(shape) for shape in noise])

    def forward(self, latents: Tensor, *conditions: Tensor) -> Tensor:
        labels, (truncation, *noise) = None, conditions
        if self.classes:
            labels, truncation, *noise = conditions
        styles = self.styles(latents, labels)
        if self.mixes:
            others, layer, *noise = noise
            layers = torch.arange(len(self.mean), device=layer.device)
            own = layers[None, :, None] < layer[:, None, None]
            styles = torch.where(own, styles, self.styles(others, labels))
        # Exactly the styles where the truncation is 1.
        return self.images(styles + self._strength(truncation) * (self.mean - styles), noise)

    def styles(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """[B, w] or [B, layers, w]."""
        given = [latents]
        if labels is not None:
            one_hot = self.options.one_hot
            given.append(F.one_hot(labels, self.classes).float() if one_hot else labels)
        (styles,) = outputs_of(self.mapping(*given, **self.options.mapping_arguments), 1)
        if self.options.layers is not None and styles.ndim == 2:
            styles = styles[:, None].expand(-1, self.options.layers, -1)
        return styles

    def images(self, styles: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """[B, C, H, W]; the noise that the network draws itself stands behind what it takes."""
        with GivenNormals(noise[self.given :]):
            made = self.synthesis(styles, *noise[: self.given], **self.options.synthesis_arguments)
        return outputs_of(made, 1)[0]

    def _strength(self, truncation: Tensor) -> Tensor:
        """How far each style goes towards the mean: [B, 1] or [B, layers, 1]."""
        towards = 1.0 - truncation[:, None]
        return towards if self.mean.ndim == 1 else towards[:, None] * self.truncated[:, None]

    def _truncated(self, mean: Tensor) -> Tensor:
        """[layers]: 1 for the layers that are truncated, 0 for others."""
        layers, cutoff = len(mean) if mean.ndim == 2 else 1, self.options.truncation_cutoff
        if cutoff is not None and (mean.ndim == 1 or not 0 < cutoff <= layers):
            found = f"styles {['B', *mean.shape]}"
            raise ExportError(
                f"truncation_cutoff: expected a layer of styles [B, layers, w], found {cutoff} for "
                f"{found}: say how many `layers` the synthesis network has"
            )
        return (torch.arange(layers) < (layers if cutoff is None else cutoff)).float()

    @torch.inference_mode()
    def _mean(self, latent: tuple[int, ...]) -> Tensor:
        logger.info("mapping: the mean style of %d latents", MEAN_LATENTS)
        counter, total = Counter(MEAN_SEED, 0, MEAN_LATENTS), 0.0
        for start in range(0, MEAN_LATENTS, _BATCH):
            part = counter.slice(start, start + _BATCH)
            latents, labels = _drawn(part, latent, self.classes)
            try:
                styles = self.styles(latents, labels)
            except Exception as error:  # whatever a user's forward raises
                taken = f"latents {list(latents.shape)}"
                if labels is not None:
                    shape = [len(labels), self.classes] if self.options.one_hot else [len(labels)]
                    taken += f", {'one-hot' if self.options.one_hot else 'int64'} labels {shape}"
                raise ExportError(
                    f"mapping: failed on {taken}: {described_error(error)}"
                ) from error
            _check_styles(styles, len(latents), self.options.layers)
            total = total + styles.double().sum(0)
        # A clone: what inference mode made cannot be captured.
        return (torch.as_tensor(total) / MEAN_LATENTS).float()

    @torch.inference_mode()
    def _tried(
        self, given: Sequence[tuple[int, ...]]
    ) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
        """The shapes of all noise, and of an image."""
        styles = self.mean.expand(_TRIAL, *self.mean.shape)
        noise = [torch.zeros(_TRIAL, *shape) for shape in given]
        try:
            with GivenNormals() as drawn:
                images = self.images(styles, noise)
        except Exception as error:  # whatever a user's forward raises
            shapes = [list(tensor.shape) for tensor in (styles, *noise)]
            raise ExportError(
                f"synthesis: failed on styles and noise {shapes}: {described_error(error)}: say "
                "`layers` where it takes styles [B, layers, w], and the shapes of its `noise`"
            ) from error
        if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != _TRIAL:
            raise ExportError(
                f"synthesis: expected images [{_TRIAL}, C, H, W], found {described(images)}"
            )
        for shape in drawn.shapes:
            if len(shape) < 2 or shape[0] != _TRIAL:
                raise ExportError(
                    f"synthesis: expected noise [B, ...] of its own for every image, found "
                    f"{list(shape)} drawn for {_TRIAL} images: take it as an input (`noise`)"
                )
        return [*given, *(shape[1:] for shape in drawn.shapes)], tuple(images.shape[1:])


def _drawn(counter: Counter, latent: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor | None]:
    """Latents and labels as `sample` draws them."""
    values = normals(counter, Stream.LATENT, torch.Size(latent).numel())
    labels = drawn_labels(classes, counter)
    return torch.from_numpy(values).reshape(-1, *latent), (
        None if labels is None else torch.from_numpy(labels)
    )


def _check_styles(styles: Any, rows: int, layers: int | None) -> None:
    fits = isinstance(styles, Tensor) and styles.ndim in (2, 3) and len(styles) == rows
    if not fits or (layers is not None and styles.shape[1] != layers):
        many = "layers" if layers is None else layers
        raise ExportError(
            f"mapping: expected styles [{rows}, w] or [{rows}, {many}, w], found "
            f"{described(styles)}"
        )
