"""Rows of the GAN family."""

from collections.abc import Iterable

from benchmarks.results.record import Row

_BUDGET = (
    "One pair of networks (generator width 32, discriminator width 16 without norm), 3,000 batches "
    "of 64 of the 60,000 training images of MNIST, averaged weights; Fréchet distance, density and "
    "coverage of 10,000 samples of the export in the features of our frozen classifier, against "
    "as many training images."
)
_OTHER_FEATURES = "not with published distances: features, networks and budget are our own"


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
        system="DCGAN (Radford), the frogs (Chollet)",
        shows="Interpolation and arithmetic of latents; the five heuristics off one at a time.",
        records=(),
        figures=("frechet",),
        goal="figures of latents, and an ablation",
        published="pictures only (Radford et al. 2016, arXiv:1511.06434)",
        comparable="by eye",
    ),
    Row(
        system="Improved techniques (Salimans)",
        shows=f"{_BUDGET} Each technique alone on the non-saturating loss.",
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
        short=(
            "all are far from the real images: the small discriminator ends near chance, and "
            "losses that differ by less than the spread of seeds are not told apart by one seed; "
            "600 generator steps are few for the Wasserstein critics"
        ),
    ),
    Row(
        system="Mode coverage",
        shows=(
            "Stacked MNIST, 26,000 samples of the export; the frozen classifier reads the digit of "
            "each colour. One pair of networks, 5,000 batches of 64. `real`: as many real "
            "pictures, the floor of the figure; `sure`: all three digits beyond doubt."
        ),
        records=_seeds(("stacked_dcgan", "stacked_pacgan", "stacked_r3gan"), 0),
        figures=("modes", "kl", "sure", "kl_real", "sure_real"),
        goal="packed 1000 modes, 0.06 nats; relativistic with R1 and R2 1000 modes, at most 0.03",
        published=(
            "DCGAN 99 modes, 3.40 nats; packed 1000, 0.06 (Lin et al. 2018, arXiv:1712.04086); "
            "R3GAN 1000, 0.029 (arXiv:2501.05441)"
        ),
        comparable=(
            "same kind of data, number of samples and estimator; our own digits' draw and "
            "classifier, smaller networks and a far smaller budget"
        ),
        short=(
            "digits are hardly legible after 5,000 steps of these small networks (see `sure`), so "
            "that most modes counted are misread: neither the published collapse nor what packing "
            "does against it shows, only that relativistic pairs come nearest; a wider "
            "discriminator and more steps are needed"
        ),
    ),
    Row(
        system="Conditional GANs",
        shows=(
            "One pair of networks (both of width 32, the discriminator with batch norm), 6,000 "
            "batches of 64 of MNIST; the label projected in the discriminator and in the "
            "generator's batch norms (`mnist_cgan`), beside the picture, beside the latent too, or "
            "told by an auxiliary classifier. 1,000 samples of each label for the share recognised "
            "as asked; a classifier that saw 60,000 samples only reads the real test images."
        ),
        records=_seeds(
            ("mnist_cgan", "mnist_cgan_batch_norm", "mnist_cgan_concatenate", "mnist_acgan"), 0
        ),
        figures=(
            "as_asked",
            "as_asked_least",
            "as_asked_real",
            "train_on_generated",
            "train_on_real",
            "frechet",
            "coverage",
        ),
        goal="at least 99.0% recognised as asked; train on generated, test on real at least 97%",
        published="none on MNIST with this measure that we know of",
        comparable="not beyond the kind of figure",
    ),
    Row(
        system="Memorisation",
        shows="Nearest training images of every shipped artifact's samples.",
        records=(),
        figures=("nearest_pixels", "nearest_pixels_real"),
        goal="ratio of median distances, generated to real, within 5% of 1 or explained",
        published="none for these models",
        comparable="not at all",
    ),
)
