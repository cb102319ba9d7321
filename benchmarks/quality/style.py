"""Style transfer by one pass of a network, and by optimising each picture on its own (Gatys).

Both minimise the same content and style distances, in the same features: those of the run. Johnson
et al. (2016, arXiv:1603.08155, figure 5) found their networks about as good as 50 to 100 steps of
the optimisation.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.errors import UnfitError
from benchmarks.quality.classifier import load_data
from benchmarks.quality.pairs import cases
from benchmarks.quality.served import Images, parser, served
from benchmarks.quality.translation import SHOWN, recipe_of
from benchmarks.quality.verdicts import Figures
from benchmarks.report import table, write_json
from benchmarks.results import record
from runtime.images import contact_sheet, to_picture
from train import checkpoint
from train.networks.features import Features
from train.objectives.translation import Translation, content_of, style_of
from train.runs import load_any
from train.styles import style_picture

_RATE = 0.02


class Distances:
    """Content and style distances of pictures [n, 3, H, W] in [-1, 1], in a run's features."""

    def __init__(self, settings: Translation, features: Features, pictures: Tensor) -> None:
        self.settings, self.features = settings, features
        with torch.no_grad():
            self.content = features(pictures)
            self.style = features(style_picture(settings.style_of))

    def __call__(self, made: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Content, style, and the sum by their weights; means over the pictures."""
        found = self.features(made)
        content, style = content_of(found, self.content), style_of(found, self.style)
        return content, style, self.settings.content * content + self.settings.style * style


def optimised(distances: Distances, pictures: Tensor, steps: int) -> tuple[Tensor, list[float]]:
    """Gatys et al. (2016), from the picture itself, by Adam, whose steps do not depend on how many
    pictures share the mean: the pictures, and the mean distance before each step."""
    made = pictures.clone().requires_grad_()
    optimiser = torch.optim.Adam([made], _RATE)
    totals: list[float] = []
    for _ in range(steps):
        total = distances(made)[2]
        totals.append(float(total.detach()))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        with torch.no_grad():
            made.clamp_(-1, 1)
    return made.detach(), totals


def measure(run: Path, made: Images, pictures: Images, steps: int) -> tuple[Figures, Images]:
    """Distances of a run's translations, of the pictures optimised in so many steps, and of the
    pictures as they were; and a sheet of these three."""
    settings = load_any(run).recipe.objective
    if not isinstance(settings, Translation) or not settings.style:
        raise UnfitError(f"{run}: expected a run of style transfer, found {settings.kind}")
    networks = settings.build().networks
    networks.load_state_dict(checkpoint.load(run / "checkpoints").group("networks"))
    features = cast(Features, networks["features"].requires_grad_(False))
    before = _floats(pictures)
    distances = Distances(settings, features, before)
    slow, totals = optimised(distances, before, steps)
    figures: Figures = {"n": len(pictures), "gatys_steps": steps}
    for name, images in (("", _floats(made)), ("_gatys", slow), ("_unchanged", before)):
        with torch.no_grad():
            found = distances(images)
        figures |= {
            f"{what}{name}": float(value)
            for what, value in zip(("content", "style", "total"), found, strict=True)
        }
    # As many steps as the optimisation takes to be as good; all of them where it is not.
    figures["gatys_steps_to_equal"] = sum(total > figures["total"] for total in totals)
    levels = (slow * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    rows = np.concatenate([each[:SHOWN] for each in (pictures, made, levels)])
    return figures, contact_sheet(rows, columns=min(SHOWN, len(pictures)))


def _floats(pictures: Images) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks style RUN --data PATH`"""
    options = parser("style", __doc__, subject="a run", data="CIFAR-10", n=64)
    options.add_argument("--steps", type=int, default=300, help="of Gatys' optimisation")
    options.add_argument("--out", type=Path, help="write the sheet there, PNG")
    chosen = options.parse_args(arguments)
    with served(chosen.subject) as model:
        recipe = recipe_of(model)
        train, test = load_data("cifar10", chosen.data)
        (case,) = cases(recipe, train, test, n=chosen.n, seed=chosen.seed)
        made = model.translate(case.given)
        artifact = model.manifest.full_name
    figures, sheet = measure(Path(chosen.subject), made, case.given, chosen.steps)
    print(table((artifact, ""), list(figures.items())))
    if chosen.out is not None:
        to_picture(sheet.repeat(2, axis=0).repeat(2, axis=1)).save(chosen.out)
    write_json(chosen.json, "style", figures, {"artifact": artifact, "test": test.checksum})
    record.write(chosen.record, chosen.subject, figures)
