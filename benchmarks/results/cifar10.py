"""Rows of CIFAR-10's ten classes."""

from benchmarks.results.record import Row

ROWS = (
    Row(
        system="BigGAN-style",
        shows=(
            "CIFAR-10, ten classes, 50,000 training images. Residual networks with the label in "
            "the generator's batch norms and projected in the discriminator, spectral norm, hinge "
            "loss, averaged weights and orthogonal initialisation, beside a DCGAN that knows no "
            "label; batches of 64. `full`: about BigGAN's own size and budget, a day or more of a "
            "GPU. Fréchet distance, density "
            "and coverage of 10,000 samples of the export in the features of our frozen "
            "classifier, against as many training images (`real`: as many test images). "
            "`as asked`: 1,000 samples a label, the share recognised as the label asked for. The "
            "curve: what bounding the latents (`sample(truncation=…)`) trades. The sheets are not "
            "chosen (`python -m runtime sample … -n 50 --columns 10`, seed 0), the second one with "
            "a class a column."
        ),
        records=("cifar10_dcgan_0", "cifar10_biggan_0", "cifar10_biggan_full_0"),
        figures=("frechet", "density", "coverage", "sure", "as_asked", "frechet_real"),
        goal="Fréchet distance at most half of our DCGAN's",
        published=(
            "FID 9.6 with Inception's features, 8.7 with differentiable augmentation "
            "(Zhao et al. 2020, arXiv:2006.10738, table 4)"
        ),
        comparable=(
            "not with published distances: features of our own classifier, networks of a tenth of "
            "the width, an hour of a CPU's core, and JPEG copies of CIFAR-10's images"
        ),
        pictures=("truncation.png", "cifar10_dcgan.png", "cifar10_biggan.png"),
    ),
)
