"""Rows of the GAN family."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.figures import Bar, least, most
from benchmarks.results.row import Check, Row
from runtime.artifact.reading import find_artifact

_BUDGET = (
    "One pair of networks (generator width 32, discriminator width 16 without norm), 3,000 batches "
    "of 64 of the 60,000 training images of MNIST, averaged weights; Fréchet distance, density and "
    "coverage of 10,000 samples of the export in the features of our frozen classifier, against "
    "as many training images."
)
_OTHER_FEATURES = "not with published distances: features, networks and budget are our own"

_SAMPLING = ("cifar10-frogs-dcgan", "mnist-cgan", "mnist-vae", "mnist-vae-2d")
SHIPPED = [find_artifact(Path(__file__).parents[2] / "artifacts" / name) for name in _SAMPLING]
"""The newest version of every artifact that ships and draws samples of MNIST or CIFAR-10: folders
named NAME/VERSION."""

_SHIPPED_RECORDS = tuple(f"artifact_{path.parent.name.replace('-', '_')}" for path in SHIPPED)


def _seeds(recipes: Iterable[str], *seeds: int) -> tuple[str, ...]:
    return tuple(f"{recipe}_{seed}" for recipe in recipes for seed in seeds)


ROWS = (
    Row(
        system="GAN, minimax and non-saturating (Goodfellow)",
        shows=(
            f"{_BUDGET} Early: medians over the first 300 steps of the length of the generator's "
            "gradient, and of the probability that the discriminator gives its samples."
        ),
        records=_seeds(("mnist_minimax", "mnist_gan"), 0),
        figures=("early_gradient", "early_fake_probability", "frechet", "coverage", "sure"),
        goal="both losses, same networks: early gradient and resulting quality, plotted",
        published="the argument without a figure (Goodfellow et al. 2014, arXiv:1406.2661, sec. 3)",
        comparable="the argument is shown, there is no published figure",
        pictures=("saturation.png",),
    ),
    Row(
        system="DCGAN (Radford), the frogs (Chollet): latents",
        shows=(
            "300 great circles between two samples, 13 pictures each: legible (classifier at least "
            "0.9 sure; for the frogs: a frog) at the ends and in the middle, and in the middle of "
            "the straight line; the largest step over the sum of steps (1/12 for an even path, 1 "
            "for one jump). Arithmetic: high a - low a + low b, each the mean latent of three "
            "samples in the top or bottom tenth of their digit by width of the stroke or by slant, "
            "20 draws for each of the 90 pairs of digits; counted are results recognised as b, and "
            "those besides in the upper half of b. `control`: exemplars of a drawn without regard "
            "to the attribute. `mnist-vae`, for comparison, is a VAE. Pictures: the first "
            "draws, none chosen."
        ),
        records=("mnist_dcgan_0", "artifact_mnist_vae", "artifact_cifar10_frogs_dcgan"),
        figures=(
            "legible_middle_slerp",
            "legible_middle_lerp",
            "legible_ends",
            "largest_step",
            *(
                f"{attribute}_{share}{suffix}"
                for attribute in ("stroke", "slant")
                for share in ("class", "class_and_high")
                for suffix in ("", "_control")
            ),
        ),
        goal="figures of interpolation and of vector arithmetic",
        published="pictures only (Radford et al. 2016, arXiv:1511.06434, sec. 6.1 and 6.3)",
        comparable="by eye: theirs are faces and bedrooms",
        findings=(
            "no path jumps, and arithmetic works in part: "
            "{artifact_mnist_vae[stroke_class_and_high]:.0%} of the VAE's results are a thick b "
            "({artifact_mnist_vae[stroke_class_and_high_control]:.1%} by chance) and "
            "{artifact_mnist_vae[slant_class_and_high]:.0%} a leaning one "
            "({artifact_mnist_vae[slant_class_and_high_control]:.1%}), "
            "{mnist_dcgan_0[stroke_class_and_high]:.0%} and "
            "{mnist_dcgan_0[slant_class_and_high]:.0%} of the DCGAN's "
            "({mnist_dcgan_0[stroke_class_and_high_control]:.1%} and "
            "{mnist_dcgan_0[slant_class_and_high_control]:.1%}); "
            "most of the others are no longer the digit b. After 3,000 steps "
            "{mnist_dcgan_0[legible_ends]:.0%} of the DCGAN's digits are legible in the first "
            "place (`legible ends`)"
        ),
        pictures=("mnist_paths.png", "frogs_paths.png", "mnist_arithmetic.png"),
    ),
    Row(
        system="DCGAN (Radford), the frogs (Chollet): the five heuristics",
        shows=(
            "Both networks of width 32, the discriminator with batch norm, 3,000 batches of 64 of "
            "MNIST, averaged weights. `mnist_dcgan` has all five of Chollet's tricks (Deep "
            "Learning with Python, 1st ed., 8.5.2): tanh at the end, a normal prior, dropout and "
            "noisy targets, strides with LeakyReLU, kernels that the stride divides; each other "
            "recipe lacks one. 10,000 samples of the export against as many training images. The "
            "machine was shared with other trainings: times are not to be compared."
        ),
        records=_seeds(
            (
                "mnist_dcgan",
                "mnist_dcgan_linear_end",
                "mnist_dcgan_uniform_prior",
                "mnist_dcgan_no_noise",
                "mnist_dcgan_sparse",
                "mnist_dcgan_odd_kernel",
            ),
            0,
        ),
        figures=(
            "frechet",
            "precision",
            "recall",
            "density",
            "coverage",
            "sure",
            "frechet_real",
            "precision_real",
            "recall_real",
        ),
        goal="the five heuristics off one at a time",
        published="the advice without a figure",
        comparable="there is no published figure",
        findings=(
            "without tanh the distance is nearly four times as long (pixels beyond the range are "
            "cut to grain), with sparse gradients half as long again; prior, noise and kernel "
            "(which comes out ahead) change it by less than seeds do among the improved "
            "techniques, and each has one seed"
        ),
        pictures=("dcgan_heuristics.png",),
    ),
    Row(
        system="Improved techniques (Salimans)",
        shows=(
            f"{_BUDGET} Each technique alone on the non-saturating loss. The machine was shared "
            "with other trainings: times are not to be compared."
        ),
        records=_seeds(
            (
                "mnist_gan",
                "mnist_feature_matching",
                "mnist_minibatch_deviation",
                "mnist_historical_averaging",
                "mnist_label_smoothing",
                "mnist_virtual_batch_norm",
            ),
            0,
            1,
            2,
        ),
        figures=("frechet", "density", "coverage", "sure", "diversity_features"),
        goal="each with its effect: same budget, three seeds, spread printed",
        published="Inception score of CIFAR-10 (Salimans et al. 2016, arXiv:1606.03498, table 3)",
        comparable="only in which techniques help: theirs are measured on other images",
        findings=(
            "virtual batch norm is better in every seed and its seeds agree, feature matching is "
            "worse in every seed (the paper wants it for semi-supervised learning, and says that "
            "samples get worse); the other three change less than the seed does. All of it early "
            "in the training of small networks"
        ),
    ),
    Row(
        system="Adversarial losses",
        shows=(
            f"{_BUDGET} A step is a batch for the discriminator; the Wasserstein critics take five "
            "for one of the generator, whose steps are then 600."
        ),
        records=_seeds(
            (
                "mnist_gan",
                "mnist_minimax",
                "mnist_lsgan",
                "mnist_hinge",
                "mnist_wgan",
                "mnist_wgan_gp",
                "mnist_r3gan",
            ),
            0,
        ),
        figures=("frechet", "density", "coverage", "sure"),
        goal="one table of losses on the same networks and budget",
        published=(
            "no loss is best with enough budget (Lucic et al. 2018, arXiv:1711.10337); "
            "R3GAN 1.96 on CIFAR-10 (arXiv:2501.05441)"
        ),
        comparable=_OTHER_FEATURES,
        findings=(
            "all are far from the real images: the small discriminator ends near chance, and "
            "one seed does not separate losses that differ by less than the spread of seeds; "
            "600 generator steps are few for the Wasserstein critics"
        ),
    ),
    Row(
        system="Mode coverage",
        shows=(
            "Stacked MNIST, 26,000 samples of the export; the frozen classifier reads the digit of "
            "each colour. One pair of networks, 15,000 batches of 64. `real`: as many real "
            "pictures, the floor of the figure; `sure`: all three digits beyond doubt."
        ),
        records=_seeds(("stacked_dcgan", "stacked_pacgan", "stacked_r3gan"), 0),
        figures=("modes", "kl", "sure", "kl_real", "sure_real"),
        goal="packed 1000 modes, 0.06 nats; relativistic with R1 and R2 1000 modes, at most 0.03",
        checks=(
            Check("stacked_pacgan_0", "modes", least(1000)),
            Check("stacked_pacgan_0", "kl", most(0.06)),
            Check("stacked_r3gan_0", "modes", least(1000)),
            Check("stacked_r3gan_0", "kl", most(0.03)),
        ),
        published=(
            "DCGAN 99 modes, 3.40 nats; packed 1000, 0.06 (Lin et al. 2018, arXiv:1712.04086); "
            "R3GAN 1000, 0.029 (arXiv:2501.05441)"
        ),
        comparable=(
            "same kind of data, number of samples and estimator; our own digits' draw and "
            "classifier, smaller networks and a far smaller budget"
        ),
        findings=(
            "nearly all modes are drawn and unevenly so. The plain DCGAN does not collapse within "
            "this budget, so there is nothing for packing to cure; "
            "relativistic pairs are nearest to even. What is missing to 0.03 is legibility: all "
            "three digits are beyond doubt (`sure`) in {stacked_pacgan_0[sure]:.0%} to "
            "{stacked_r3gan_0[sure]:.0%} of the samples, and misread digits shift the counts. "
            "Wider networks and more steps are needed"
        ),
    ),
    Row(
        system="Conditional GANs",
        shows=(
            "One pair of networks (both of width 32, the discriminator with batch norm), 6,000 "
            "batches of 64 of MNIST; the label projected in the discriminator and in the "
            "generator's batch norms (`mnist_cgan`), beside the picture, beside the latent too, or "
            "predicted by an auxiliary classifier. 1,000 samples of each label for the share "
            "recognised as asked; `second`: by a judge of another seed, which gives no features. A "
            "classifier that saw 60,000 samples only reads the real test images. `mnist-cgan@3` "
            "ships: the label beside latent and picture, for three times as long."
        ),
        records=(
            *_seeds(
                ("mnist_cgan", "mnist_cgan_batch_norm", "mnist_cgan_concatenate", "mnist_acgan"), 0
            ),
            "artifact_mnist_cgan",
        ),
        figures=(
            "as_asked",
            "as_asked_least",
            "as_asked_real",
            "as_asked_second",
            "as_asked_second_real",
            "train_on_generated",
            "train_on_real",
            "frechet",
            "coverage",
        ),
        goal="at least 99.0% recognised as asked; train on generated, test on real at least 97%",
        checks=(
            Check("artifact_mnist_cgan", "as_asked", least(0.99)),
            Check("artifact_mnist_cgan", "train_on_generated", least(0.97)),
        ),
        published="none on MNIST with this measure that we know of",
        comparable="not beyond the kind of figure",
        findings=(
            "met by what ships, after 18,000 steps. After 6,000 projection is recognised best "
            "({mnist_cgan_0[as_asked]:.1%}) and concatenation trains the best classifier "
            "({mnist_cgan_concatenate_0[train_on_generated]:.1%}), one seed each. Why the "
            "auxiliary classifier lags behind was not looked into"
        ),
    ),
    Row(
        system="Memorisation",
        shows=(
            "Of 1,000 samples of each shipped artifact of digits or frogs, and as many test "
            "images, the median distance to the nearest of all training images, in pixels (root "
            "mean square, grey levels) and in the classifier's features; `ratio`: samples over "
            "test images. `seen to "
            "unseen`: the mean distance to the nearest of n training images over that to the "
            "nearest of n test images (10,000 of MNIST, 1,000 frogs), 1 where a model does not "
            "know which it was trained on; `real`: the same of other training images. What ships "
            "may have been trained with earlier settings of its recipe; its card has them. "
            "Pictures: samples, below each its nearest training images in pixels and in features."
        ),
        records=_SHIPPED_RECORDS,
        figures=(
            "nearest_pixels_ratio",
            "nearest_features_ratio",
            "seen_to_unseen",
            "seen_to_unseen_real",
            "nearest_pixels",
            "nearest_pixels_real",
            "nearest_features",
            "nearest_features_real",
        ),
        goal="ratio of median distances, generated to real, within 5% of 1, or else explained",
        checks=tuple(
            Check(name, figure, Bar(0.95, 1.05))
            for name in _SHIPPED_RECORDS
            for figure in ("nearest_pixels_ratio", "nearest_features_ratio")
        ),
        published="none for these models",
        comparable="not at all",
        findings=(
            "both VAEs draw the mean of what a latent may show: smooth pictures, nearer in pixels "
            "to every digit, to unseen ones as much as to seen ones (`seen to unseen` is not below "
            "that of real images). In features the plane's are far from all real ones "
            "({artifact_mnist_vae_2d[nearest_features_ratio]:.2f}): much "
            "of it lies between digits"
        ),
        pictures=tuple(
            f"../../artifacts/{path.parent.name}/{path.name}/neighbours.png" for path in SHIPPED
        ),
    ),
)
