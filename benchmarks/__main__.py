"""`python -m benchmarks NAME …`: one module a benchmark, imported only when it is run."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

BENCHMARKS = {
    "arithmetic": "latents of thick sevens - thin sevens + thin ones: how often a thick one comes",
    "classifier": "train the frozen classifier of a data set anew (mnist, cifar10)",
    "disentanglement": "which latent dimension of a VAE follows which known factor, and traversals",
    "encoding": "microseconds and bytes an image of PNG and the other formats, against Pillow",
    "engines": "images a second of torch, ONNX Runtime, OpenVINO and ours on the same networks",
    "gallery": "the picture at the top of the README, drawn by the shipped artifacts",
    "gpu": "images a second on an NVIDIA GPU: torch, ONNX Runtime, TensorRT and ours",
    "inprocess": "what `Model` leaves of the engine's speed, against the best raw loop",
    "interpolation": "the way between two samples: legible and even, or a jump",
    "likelihood": "importance-weighted likelihood bound of a trained VAE on held-out images",
    "manifold": "the latent plane of a 2-D VAE as served, and the classes on it",
    "memory": "growth of resident memory while a million images stream",
    "modes": "Stacked MNIST: how many of a thousand modes a generator draws, and how evenly",
    "networks": "parameters and FLOPs of the reference networks of every speed figure",
    "prior": "a VAE's samples from N(0, I) and from a mixture fitted to its latents",
    "quality": "an artifact's samples: recognisable, diverse, as asked, and near the real images?",
    "saturation": "the generator's early gradient under the minimax and non-saturating loss",
    "results": "the page of training results, docs/results.md, from committed records",
    "serving": "images a second over HTTP, against in process and against other servers",
    "sheet": "samples of several models, a row each",
    "startup": "from process start to ready, memory then, and the cost of importing the library",
    "truncation": "quality against coverage of a GAN's samples at several truncations",
    "transfer": "a classifier trained on samples alone, tested on real images",
}
"""Name -> what it measures. `benchmarks.NAME` has `main(arguments)`; the frame needs no more."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure something; --help after a benchmark's name tells its options.",
    )
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="what to measure")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its own options")
    options = parser.parse_args(arguments)
    if options.list:
        width = max(map(len, BENCHMARKS))
        for name, description in BENCHMARKS.items():
            print(f"{name:<{width}}  {description}")
        return
    if options.name is None:
        parser.error("expected the name of a benchmark; --list names them")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    importlib.import_module(f"benchmarks.{options.name}").main(options.rest)


if __name__ == "__main__":
    sys.exit(main())
