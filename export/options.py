"""What is known of an export besides its modules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.artifact.manifest import Axis, Prior, Provenance, Reduced, check_name
from runtime.artifact.size import Dim
from runtime.artifact.tensors import Role
from runtime.artifact.vocabulary import Vocabulary
from runtime.errors import ExportError
from runtime.images import ImageSpec


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The artifact to write.

    `latent`: the shape of one latent, for a decoder. `axes`: the axes whose values a request
    chooses, `height` and `width` of the images among them (`image` then gives their defaults);
    other shapes refer to them: `latent=(4, "height / 8", "width / 8")`. `noise`: the shape of each
    noise input of the decoder or translator, in order. `takes_truncation`: it takes a float a row,
    before the noise. `takes_mixing`: behind that, further latents and a float a row, the first
    layer that has the style of those. `takes_mask`: a translator takes a mask behind the images.
    `vocabulary`: the prompts that the decoder reads; it takes their tokens int64 [B, length] where
    labels would stand. `depth`: it gives volumes [B, 1, depth, H, W], each layer of `image`.
    `prior`: `truncated_normal` where the truncation multiplies the latents, normals within [-2, 2];
    `none` where another model makes them. `labels`: the class names by index, where a module takes
    them. `encode_gives`: what an encoder without noise gives, `("mean", "log_variance")`,
    `("latents",)` where it has no variance, or `("latents", "codes")`, codes int64 [B, *`codes`].
    `version`: the next free integer unless given. `precisions` are tried for the decoder
    beside fp32: each is compared with the fp32 graph over 10,000 seeded latents, with arithmetic
    emulated on the CPU, and left out where its images differ by more than `runtime.artifact.golden`
    allows; the card says why. `any_range`: images are not looked at for whether they are of
    `image.value_range`. `neighbours`: a PNG for the model card,
    samples above their nearest training images, as `python -m benchmarks quality --out` draws it.
    `sheet`: a PNG that shows what the artifact makes; without it, images of seeded inputs do.
    """

    image: ImageSpec
    name: str
    latent: int | Sequence[Dim] = ()
    axes: Mapping[str, Axis] = field(default_factory=dict[str, Axis])
    noise: Sequence[Sequence[Dim]] = ()
    takes_truncation: bool = False
    takes_mixing: bool = False
    takes_mask: bool = False
    vocabulary: Vocabulary | None = None
    depth: int | None = None
    prior: Prior = "standard_normal"
    out: str | Path = "artifacts"
    version: int | None = None
    kind: str = "custom"
    labels: Sequence[str] | None = None
    encode_takes_labels: bool = False
    encode_takes_noise: bool = False
    encode_gives: Sequence[Role] = ("mean", "log_variance")
    codes: Sequence[Dim] = ()
    batches: Sequence[int] = (1, 4, 16, 64)
    precisions: Sequence[Reduced] | Literal["auto"] = "auto"
    provenance: Provenance | None = None
    licence: str = "not stated"
    any_range: bool = False
    neighbours: bytes | None = None
    sheet: bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise ExportError(
                f"labels: expected a sequence of class names, found the text {self.labels!r}"
            )
        try:
            check_name(self.name)
        except (ValueError, TypeError) as error:
            raise ExportError(f"name: {error}") from error

    @property
    def folder(self) -> Path:
        """Holds the artifact's versions."""
        return Path(self.out) / self.name

    @property
    def smallest_image(self) -> tuple[int, int]:
        """(height, width)"""
        sides = {"height": self.image.height, "width": self.image.width}
        sides |= {name: axis.min for name, axis in self.axes.items() if name in sides}
        return sides["height"], sides["width"]

    @property
    def latent_shape(self) -> tuple[Dim, ...]:
        return (self.latent,) if isinstance(self.latent, int) else tuple(self.latent)
