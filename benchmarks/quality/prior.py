"""Samples of a VAE drawn from N(0, I) and from a mixture fitted to its training images' latents.

Both priors are served: the run (or artifact) and its next version, as `python -m export prior`
writes it. Between them stand images of posterior draws of training images: what a prior that is
the aggregate posterior itself would give.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.quality.classifier import load_data, load_or_train
from benchmarks.quality.distances import shuffled
from benchmarks.quality.judge import Classifier
from benchmarks.quality.served import Images, sample
from benchmarks.quality.verdicts import Figures, recognised
from benchmarks.report import table, write_json
from benchmarks.results import record
from export import export_run
from export.importers.run import training_images
from export.prior import COMPONENTS, add_prior
from runtime.artifact.reading import find_artifact, read_artifact
from runtime.images import contact_sheet, to_picture
from train import metrics

SHOWN = 10
"""Images along each side of a panel of the picture."""
GAP = 8
ROWS = {
    "frechet": "Fréchet distance in classifier features",
    "sure": "classifier at least 0.9 sure (share)",
    "class_share_least": "rarest class (share)",
    "log_density": "log density of the latents it was fitted to (nats)",
}
"""Figure -> its words."""


def compare(
    normal: runtime.Model,
    fitted: runtime.Model,
    classifier: Classifier,
    encoded: Images,
    real: Images,
    *,
    n: int,
    seeds: Sequence[int],
) -> tuple[Figures, Images]:
    """Fréchet distance to n real images [n, H, W, C] in classifier features and the share of sure
    verdicts, mean and standard deviation over sampling seeds, of both priors and of posterior draws
    of training images as the encoder takes them; and a picture [H, W, C] of samples of N(0, I)
    beside the mixture's.
    """
    _, features = classifier(shuffled(real)[:n])
    figures: Figures = {"prior_seeds": len(seeds)}
    for suffix, model in (("_mixture", fitted), ("_normal", normal)):
        figures |= _over_seeds(
            [_judged(sample(model, n, seed), features, classifier) for seed in seeds], suffix
        )
    # Of other images than those compared with: of the same ones they would be copies.
    drawn = normal.decode(normal.encode(shuffled(encoded)[n : 2 * n]).sample(seeds[0]))
    figures |= {f"{k}_posterior": v for k, v in _judged(drawn, features, classifier).items()}
    figures["frechet_ratio"] = figures["frechet_mixture"] / figures["frechet_normal"]
    panels = [contact_sheet(sample(model, SHOWN**2, seeds[0]), SHOWN) for model in (normal, fitted)]
    gap = np.full((len(panels[0]), GAP, panels[0].shape[2]), 255, np.uint8)
    return figures, np.concatenate([panels[0], gap, panels[1]], axis=1)


def _judged(images: Images, real: NDArray[np.float32], classifier: Classifier) -> Figures:
    probabilities, features = classifier(images)
    return recognised(probabilities) | {"frechet": metrics.frechet_distance(features, real)}


def _over_seeds(found: Sequence[Figures], suffix: str) -> Figures:
    figures: Figures = {}
    for name in found[0]:
        values = [each[name] for each in found]
        figures[name + suffix] = mean(values)
        if len(values) > 1:
            figures[f"{name}{suffix}_deviation"] = stdev(values)
    return figures


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks prior ARTIFACT_OR_RUN --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prior", description=__doc__)
    parser.add_argument("subject", help="an artifact of a VAE of digits, or a run of one")
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST")
    parser.add_argument("--components", type=int, default=COMPONENTS, help="(%(default)s)")
    parser.add_argument("--n", type=int, default=10_000, help="images a set (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--record", metavar="NAME", help="keep a run's figures for docs/results.md")
    parser.add_argument("--out", type=Path, help="write a picture of both priors' samples, PNG")
    options = parser.parse_args(arguments)
    classifier = load_or_train("mnist", options.data)
    real, _ = load_data("mnist", options.data)
    with tempfile.TemporaryDirectory() as folder:
        artifact = _copied(options.subject, Path(folder))
        with runtime.load(artifact) as normal:
            encoded = training_images(normal.manifest, options.data)
            version = add_prior(artifact, encoded, components=options.components, precisions=())
            with runtime.load(version) as fitted:
                figures, picture = compare(
                    normal,
                    fitted,
                    classifier,
                    encoded,
                    real.images,
                    n=options.n,
                    seeds=range(options.seeds),
                )
                fit = fitted.manifest.provenance.details["prior"]
    figures |= {"components": fit["components"], "log_density_mixture": fit["log_density"]}
    figures["log_density_normal"] = fit["log_density_standard_normal"]
    rows = [
        (words, *(figures.get(f"{key}_{prior}") for prior in ("mixture", "normal", "posterior")))
        for key, words in ROWS.items()
    ]
    header = (f"{artifact.parent.name}, n = {options.n}", "mixture", "N(0, I)", "posterior draws")
    print(table(header, rows))
    if options.out is not None:
        to_picture(picture).save(options.out)
    subject = {"artifact": artifact.parent.name, "classifier": {"sha256": classifier.sha256}}
    write_json(options.json, "prior", figures, subject)
    record.write(options.record, options.subject, figures)


def _copied(subject: str, folder: Path) -> Path:
    """The artifact, or a run's export, where a next version may be written beside it."""
    if (Path(subject) / "run.json").is_file():
        return export_run(subject, out=folder, precisions=())
    found = find_artifact(subject)
    name = read_artifact(found).manifest.name
    return shutil.copytree(found, folder / name / found.name)
