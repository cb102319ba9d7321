"""Translation of pictures: a generator learns from pairs that a task makes of every picture.

pix2pix (Isola et al. 2017, arXiv:1611.07004), SRGAN (Ledig et al. 2017, arXiv:1609.04802), context
encoders (Pathak et al. 2016, arXiv:1604.07379) and fast style transfer (Johnson et al. 2016,
arXiv:1603.08155) differ in the task and in which terms have a weight.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from train import losses
from train.metrics import mean_absolute, psnr
from train.networks.features import FeaturesParams
from train.networks.masked import Masked
from train.networks.network import any_of
from train.networks.patches import PatchParams
from train.objectives.objective import AdamParams, Batch, Losses, Phase
from train.objectives.terms import Term, with_terms
from train.styles import STYLES, style_picture
from train.tasks import TASKS

TranslatorParams = Annotated[Any, any_of("translator", default="unet")]
"""The params of the network that translates, of any kind that is registered."""


@dataclass(frozen=True)
class Translation:
    """Settings of a translator: the weights of the terms that it minimises. Images in [-1, 1]."""

    network: TranslatorParams
    task: str
    """Key of `train.tasks.TASKS`."""
    generator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    discriminator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    pixel: float = 1.0
    """Mean absolute difference from the picture."""
    adversarial: float = 0.0
    """A discriminator's verdict on patches of the picture beside what was given; 0: there is
    none."""
    patches: PatchParams = field(default_factory=PatchParams)
    loss: str = "non_saturating"
    """Of the discriminator: key of `train.losses.ADVERSARIAL`."""
    content: float = 0.0
    """Distance from the picture in the features of a classifier (`train.networks.features`)."""
    style: float = 0.0
    """Distance from the style's picture in the Gram matrices of these features."""
    style_of: str = ""
    """Key of `train.styles.STYLES`."""
    features: FeaturesParams = field(default_factory=FeaturesParams)
    warm_up: float = 0.0
    """The share of the steps in which the translator minimises the difference of pixels alone, as
    SRGAN begins, and the classifier learns the labels."""
    kind: Literal["translation"] = "translation"

    def __post_init__(self) -> None:
        losses.adversarial(self.loss)
        if self.task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}; found {self.task!r}")
        if bool(self.style) != (self.style_of in STYLES):
            expected = f"one of {', '.join(STYLES)}" if self.style else "none without a style"
            raise ValueError(f"style_of: expected {expected}; found {self.style_of!r}")
        if self.perceives and not self.warm_up:
            raise ValueError(
                "warm_up: expected more than 0 with content or style, whose features are learned "
                "in it; found 0"
            )
        self._check_pictures()

    def _check_pictures(self) -> None:
        network, scale = self.network, TASKS[self.task].scale
        if network.channels not in (takes := TASKS[self.task].takes):
            expected = " or ".join(map(str, takes))
            raise ValueError(
                f"channels: expected {expected} for {self.task}; found {network.channels}"
            )
        if network.height % scale or network.width % scale:
            raise ValueError(
                f"height and width: expected multiples of {scale} for {self.task}; "
                f"found {network.height} x {network.width}"
            )
        if self.style and network.channels != 3:
            raise ValueError(
                f"channels: expected 3 with a style, whose picture has so many; "
                f"found {network.channels}"
            )
        if self.perceives and self.features.channels != network.channels:
            raise ValueError(
                f"features.channels: expected those of the pictures, {network.channels}; "
                f"found {self.features.channels}"
            )

    @property
    def perceives(self) -> bool:
        """Whether it needs features."""
        return bool(self.content or self.style)

    @property
    def classes(self) -> int:
        """Labels that its features are learned from."""
        return self.features.classes if self.perceives else 0

    def build(self) -> "TranslationObjective":
        return TranslationObjective(self)


class TranslationObjective:
    shown_label = None

    def __init__(self, settings: Translation) -> None:
        self.settings = settings
        self.task = TASKS[settings.task]
        self.loss = losses.adversarial(settings.loss)
        self.warming = settings.warm_up > 0
        given = self.task.planes(settings.network.channels)
        translator: nn.Module = settings.network.build(given, self.task.scale)
        self.translator = Masked(translator) if self.task.masked else translator
        self.model = nn.ModuleDict({"translator": self.translator})
        self.networks = nn.ModuleDict({"translator": self.translator})
        later = (settings.warm_up, 1.0)
        self.phases: dict[str, Phase] = {}
        if settings.perceives:
            self.features = self.networks["features"] = settings.features.build()
            self.phases["features"] = Phase(
                self.features, self._features_losses, AdamParams(1e-3), span=(0.0, settings.warm_up)
            )
        if settings.adversarial:
            self.patches = settings.patches.build(given + settings.network.channels)
            self.networks["discriminator"] = self.patches
            self.phases["discriminator"] = Phase(
                self.patches, self._discriminator_losses, settings.discriminator, span=later
            )
        self.phases["generator"] = Phase(
            self.translator, self._generator_losses, settings.generator, schedule=self._warm
        )

    def show(self, model: nn.ModuleDict, images: Tensor) -> tuple[Tensor, ...]:
        given = self.task.given(images)
        return _seen(given, images), model["translator"](*given), images

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean absolute difference in grey levels, and the mean of the images' PSNR in dB."""
        found: list[tuple[float, float, int]] = []
        for images, _ in batches:
            made, wanted = (
                _served(i) for i in (model["translator"](*self.task.given(images)), images)
            )
            found.append((mean_absolute(made, wanted), psnr(made, wanted), len(images)))
        count = sum(size for *_, size in found)
        return {
            "test_l1": sum(l1 * size for l1, _, size in found) / count,
            "test_psnr": sum(decibels * size for _, decibels, size in found) / count,
        }

    def _warm(self, progress: float) -> None:
        self.warming = progress < self.settings.warm_up

    def _features_losses(self, images: Tensor, labels: Tensor) -> Losses:
        logits = self.features.logits(images).float()
        right = (logits.argmax(1) == labels).float().mean()
        return {"loss": functional.cross_entropy(logits, labels), "right": right}

    def _discriminator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        given = self.task.given(images)
        with torch.no_grad():
            fakes = self.translator(*given).float()
        real, fake = self._judge(images, given), self._judge(fakes, given)
        loss = self.loss.discriminator(real, fake)
        return {"loss": loss, "real": real.mean(), "fake": fake.mean()}

    def _generator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        given = self.task.given(images)
        made = self.translator(*given).float()
        return with_terms(torch.zeros((), device=images.device), self._terms(given, made, images))

    def _terms(self, given: tuple[Tensor, ...], made: Tensor, images: Tensor) -> Iterator[Term]:
        settings = self.settings
        pixel = functional.l1_loss(made, images)
        if self.warming:
            yield "pixel", 1.0, pixel
            return
        yield "pixel", settings.pixel, pixel
        if settings.adversarial:
            fake = self._judge(made, given)
            real = (self._judge(images, given),) if self.loss.paired else ()
            yield "adversarial", settings.adversarial, self.loss.generator(*real, fake)
        if settings.perceives:
            yield from self._perceived(made, images)

    def _perceived(self, made: Tensor, images: Tensor) -> Iterator[Term]:
        settings = self.settings
        found = self.features(made)
        if settings.content:
            with torch.no_grad():
                wanted = self.features(images)
            yield "content", settings.content, content_of(found, wanted)
        if settings.style:
            with torch.no_grad():
                style = self.features(style_picture(settings.style_of).to(images.device))
            yield "style", settings.style, style_of(found, style)

    def _judge(self, pictures: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        """Scores of all patches."""
        return self.patches(pictures, *_known(given)).float().flatten()


def content_of(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """The content distance, in the middle map: earlier ones hold pixels, later ones classes."""
    middle = len(found) // 2
    return losses.content_distance(found[middle].float(), wanted[middle].float())


def style_of(found: list[Tensor], style: list[Tensor]) -> Tensor:
    """The style distance, a mean over all maps."""
    pairs = zip(found, style, strict=True)
    return torch.stack([losses.style_distance(a.float(), b.float()) for a, b in pairs]).mean()


def _known(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What was given, without what a mask hides."""
    images, *masks = given
    return (images * (1 - masks[0]), masks[0]) if masks else (images,)


def _seen(given: tuple[Tensor, ...], pictures: Tensor) -> Tensor:
    """What was given as images like the pictures: of their size and channels."""
    images = _known(given)[0]
    return functional.interpolate(images, pictures.shape[2:], mode="nearest").expand_as(pictures)


def _served(images: Tensor) -> Any:
    """Float [B, C, H, W] in [-1, 1] -> uint8 [B, C, H, W], as an artifact gives them."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
