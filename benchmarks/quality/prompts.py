"""Whether a model of captioned shapes draws what its prompts say.

A small network reads the attributes back from the pictures. It is trained here on pictures that the
data set's own code draws of all captions, never on a model's, and judged on others of them first.
A picture counts as right where all of its attributes are.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.quality.served import Images, collected, parser, served
from benchmarks.report import table
from benchmarks.results import record
from train import metrics
from train.captions import ATTRIBUTES, Captions, shapes
from train.data.captioned import draw

logger = logging.getLogger(__name__)

_VALUES = [len(values) for values in ATTRIBUTES.values()]
_TRAINING_SEED, _TEST_SEED = 2, 3
"""Of the data set's pictures: not those that models are trained on."""
_BATCH = 64

ROWS = {
    "as_prompted": "all attributes right, captions trained on (share)",
    "as_prompted_unseen": "all attributes right, captions held out (share)",
    "judge_accuracy": "the same of real pictures: what the judge itself gets right (share)",
}


class Reader(nn.Module):
    """Pictures float [B, 1, 32, 32] in [0, 1] -> logits of every value of every attribute."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * width, 128),
            nn.ReLU(),
            nn.Linear(128, sum(_VALUES)),
        )

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return list(self.layers(pictures).split(_VALUES, dim=1))

    @torch.no_grad()
    def read(self, images: Images) -> NDArray[np.int64]:
        """The attributes [n, A] of uint8 images [n, 32, 32, 1]."""
        parts = [
            torch.stack([logits.argmax(1) for logits in self(_floats(part))], dim=1)
            for part in np.array_split(images, max(1, len(images) // 500))
        ]
        return torch.cat(parts).numpy()


def _floats(images: Images) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255


def trained_reader(attributes: NDArray[np.int64], *, each: int = 100, epochs: int = 6) -> Reader:
    """A reader of pictures with these attributes [N, A], `each` of every row; the same every
    time."""
    labels = np.repeat(attributes, each, axis=0)
    images, targets = draw(labels, _TRAINING_SEED), torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = Reader()
        steps = epochs * -(-len(images) // _BATCH)
        optimizer = torch.optim.Adam(reader.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(_BATCH):
                made = reader(_floats(images[rows.numpy()]))
                losses = [
                    functional.cross_entropy(logits, targets[rows, attribute])
                    for attribute, logits in enumerate(made)
                ]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                schedule.step()
    return reader.eval()


def measure(
    reader: Reader, captions: Captions, images: Images, asked: NDArray[np.int64]
) -> dict[str, float]:
    """The figures of ROWS but the judge's own, of images [n, H, W, 1] of the captions `asked`
    [n]."""
    found, seen = reader.read(images), captions.seen[asked]
    return {
        name: metrics.share_right(found[chosen], captions.attributes[asked[chosen]])
        for name, chosen in (("as_prompted", seen), ("as_prompted_unseen", ~seen))
    }


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks prompts ARTIFACT_OR_RUN`"""
    options = parser("prompts", __doc__)
    options.add_argument("--each", type=int, default=20, help="images a caption (%(default)s)")
    chosen = options.parse_args(arguments)
    captions = shapes()
    asked = np.repeat(np.arange(len(captions.texts)), chosen.each)
    texts = [captions.texts[number] for number in asked]
    with served(chosen.subject) as model:
        words = model.manifest.vocabulary
        if words is None or words.words != captions.words:
            options.error(f"expected a model of captioned shapes, found {model.manifest.name}")
        batches = model.stream(len(asked), seed=chosen.seed, prompt=texts)
        images, name = collected(batches, len(asked), "sampling"), model.manifest.full_name
    logger.info("training the judge on the data set's own pictures")
    reader = trained_reader(captions.attributes)
    figures = measure(reader, captions, images, asked)
    real = captions.attributes[asked]
    figures["judge_accuracy"] = metrics.share_right(reader.read(draw(real, _TEST_SEED)), real)
    rows = [(words, figures[name]) for name, words in ROWS.items()]
    print(table((f"{name}, {chosen.each} of each caption", "share"), rows))
    record.write(chosen.record, chosen.subject, figures | {"n": len(asked), "seed": chosen.seed})
