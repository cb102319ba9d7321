"""Rows of GANs with an encoder, and of samples that teach a classifier."""

from benchmarks.figures import least, most
from benchmarks.results.row import Check, Row, Run
from train.data.few import COUNTS

_SETS = {
    "mnist_vae_dcgan": ("mnist_vae_gan", "mnist_alpha_gan"),
    "cifar10_frogs_vae": ("cifar10_frogs_vae_gan", "cifar10_frogs_alpha_gan"),
}
"""The VAE, and the hybrids with its encoder and decoder."""
_QUALITY = "quality {run} --data {data}"
_ARITHMETIC = ("arithmetic {run}", "arithmetic {run} --data {data}")
_WAYS = ("none", "classic", "generated", "both")


def _hybrids() -> tuple[Check, ...]:
    return tuple(
        check
        for vae, hybrids in _SETS.items()
        for hybrid in hybrids
        for check in (
            Check(f"{hybrid}_0", "frechet", most(0.999), over=f"{vae}_0"),
            Check(f"{hybrid}_0", "coverage", least(1), over=f"{vae}_0"),
        )
    )


def _hybrid_run(recipe: str) -> Run:
    digits = recipe.startswith("mnist")
    judges = (_QUALITY, *_ARITHMETIC) if digits else (_QUALITY,)
    return Run(f"{recipe}_0", recipe, "mnist" if digits else "cifar10", judges)


ROWS = (
    Row(
        system="VAE/GAN (Larsen), alpha-GAN (Rosca)",
        shows=(
            "MNIST and the 5,000 frogs of CIFAR-10; of each a VAE whose decoder is a DCGAN's "
            "generator, and the two hybrids with the same encoder and decoder, 12,000 batches of "
            "64 (frogs 10,000), averaged weights. 10,000 samples of the export (of the frogs, as "
            "many as there are to compare with) in the features of our frozen classifier; "
            "`reconstruction`: of test images, root of the mean squared error in grey levels. "
            "Arithmetic of latents as for the DCGAN, its kinds among samples, or (`encoded`) among "
            "test images that the encoder reads: attribute vectors."
        ),
        records=tuple(f"{name}_0" for vae, others in _SETS.items() for name in (vae, *others)),
        figures=(
            "frechet",
            "coverage",
            "density",
            "sure",
            "of_class",
            "reconstruction",
            "test_error",
            "test_kl",
            "stroke_class_and_high",
            "slant_class_and_high",
            "encoded_stroke_class_and_high",
            "encoded_slant_class_and_high",
            "frechet_real",
        ),
        goal="Fréchet distance below that of the VAE with the same decoder, coverage no lower",
        checks=_hybrids(),
        published=(
            "faces by eye and by attributes read back (Larsen et al. 2016, arXiv:1512.09300); "
            "several measures of CIFAR-10 and faces (Rosca et al. 2017, arXiv:1706.04987)"
        ),
        comparable=(
            "not in numbers: other pictures and features; a diagonal Gaussian posterior in "
            "alpha-GAN, whose authors leave its form open"
        ),
        findings=(
            "both hybrids draw digits nearer to true ones than the VAE with their decoder does "
            "(Fréchet distance {mnist_vae_dcgan_0[frechet]:.1f}; VAE/GAN "
            "{mnist_vae_gan_0[frechet]:.1f}, alpha-GAN {mnist_alpha_gan_0[frechet]:.1f}), and "
            "cover more of them ({mnist_vae_dcgan_0[coverage]:.2f}; "
            "{mnist_vae_gan_0[coverage]:.2f}, {mnist_alpha_gan_0[coverage]:.2f}). On the frogs the "
            "VAE draws coloured fog ({cifar10_frogs_vae_0[frechet]:.0f}, coverage "
            "{cifar10_frogs_vae_0[coverage]:.2f}); those of VAE/GAN have rough surfaces and edges, "
            "and hardly ever the outline of a frog ({cifar10_frogs_vae_gan_0[frechet]:.1f}, "
            "{cifar10_frogs_vae_gan_0[coverage]:.2f}), those of alpha-GAN are blotches with "
            "drops on them ({cifar10_frogs_alpha_gan_0[frechet]:.1f}, "
            "{cifar10_frogs_alpha_gan_0[coverage]:.2f}). The "
            "price is pixels: of reconstructed digits, those of VAE/GAN, compared in the "
            "discriminator's features, are {mnist_vae_gan_0[reconstruction]:.1f} grey levels away, "
            "those of alpha-GAN {mnist_alpha_gan_0[reconstruction]:.1f}, those of the VAE "
            "{mnist_vae_dcgan_0[reconstruction]:.1f}. Attribute vectors, which the paper shows on "
            "faces, work worse than in the VAE: a thick digit of the wanted class comes of "
            "{mnist_vae_gan_0[encoded_stroke_class_and_high]:.0%} and "
            "{mnist_alpha_gan_0[encoded_stroke_class_and_high]:.0%} of the sums, there of "
            "{mnist_vae_dcgan_0[encoded_stroke_class_and_high]:.0%}; why was not looked into"
        ),
        runs=tuple(_hybrid_run(name) for vae, others in _SETS.items() for name in (vae, *others)),
    ),
    Row(
        system="Data augmentation",
        shows=(
            "MNIST with 10, 50 and 100 labelled images of each digit: accuracy on all 10,000 test "
            "images of a small classifier that trains on these alone, with classic augmentation "
            "(turned, scaled, shifted), with samples of a conditional GAN in half of each batch, "
            "and with both; mean of five seeds. `mnist-cgan` was trained on all 60,000 labels: its "
            "gain is a bound, no gain from few labels. `mnist_cgan_10`, `_50` and `_100` were "
            "trained on the same few labels that the classifier has, and all seeds share these."
        ),
        records=(
            "artifact_mnist_cgan_augmentation",
            *(f"mnist_cgan_{count}_0" for count in COUNTS),
        ),
        figures=(
            *(f"gain_{count}{suffix}" for count in COUNTS for suffix in ("", "_deviation")),
            *(
                f"accuracy_{way}_{count}{suffix}"
                for count in COUNTS
                for way in _WAYS
                for suffix in ("", "_deviation")
            ),
        ),
        goal="with samples of a generator of the same few labels, better than classic alone",
        checks=tuple(
            Check(f"mnist_cgan_{count}_0", f"gain_{count}", least(0.001)) for count in COUNTS
        ),
        published=(
            "Omniglot from 69% to 82%, EMNIST from 73.9% to 76%, with a GAN that was trained on "
            "other classes (Antoniou et al. 2017, arXiv:1711.04340)"
        ),
        comparable="only in kind: other pictures, and their generator has seen other classes",
        findings=(
            "a GAN of the same few labels takes away: half a batch of its samples beside classic "
            "augmentation changes the accuracy by {mnist_cgan_10_0[gain_10]:.1%}, "
            "{mnist_cgan_50_0[gain_50]:.1%} and {mnist_cgan_100_0[gain_100]:.1%} at 10, 50 and 100 "
            "images a digit. It has seen nothing that the classifier has not, and what it draws "
            "wrongly teaches wrongly. "
            "Without classic augmentation its samples help where there are only ten images of a "
            "digit ({mnist_cgan_10_0[accuracy_none_10]:.1%} to "
            "{mnist_cgan_10_0[accuracy_generated_10]:.1%}), much less than moving the images does "
            "({mnist_cgan_10_0[accuracy_classic_10]:.1%}). The published gains come from a "
            "generator that was trained on other classes: it brings knowledge. So does the "
            "shipped one of all labels, which adds "
            "{artifact_mnist_cgan_augmentation[gain_10]:.1%}, "
            "{artifact_mnist_cgan_augmentation[gain_50]:.1%} and "
            "{artifact_mnist_cgan_augmentation[gain_100]:.1%} beside classic augmentation: what "
            "samples could bring at most here"
        ),
        runs=tuple(
            Run(
                f"mnist_cgan_{count}_0",
                f"mnist_cgan_{count}",
                "mnist",
                ("augmentation {run} --data {data}",),
            )
            for count in COUNTS
        ),
    ),
)
