"""Rows of CIFAR-10's ten classes."""

from benchmarks.figures import most
from benchmarks.results.row import Check, Row

ROWS = (
    Row(
        system="BigGAN-style",
        shows=(
            "CIFAR-10, ten classes, 50,000 training images. Residual networks with the label in "
            "the generator's batch norms and projected in the discriminator, spectral norm, hinge "
            "loss, averaged weights and orthogonal initialisation, beside a DCGAN that knows no "
            "label; batches of 64 on one thread of a busy machine: `time` includes waiting, the "
            "processes' own was about 50 minutes (BigGAN-style) and 30 (DCGAN). Fréchet distance, "
            "density and coverage of 10,000 samples of the export in the features of our frozen "
            "classifier, against as many training images (`real`: as many test images). "
            "`as asked`: 1,000 samples a label, the share recognised as the label asked for. The "
            "curve: what bounding the latents (`sample(truncation=…)`) trades. The sheets are not "
            "chosen (`python -m runtime sample … -n 50 --columns 10`, seed 0), the second one with "
            "a class a column."
        ),
        records=("cifar10_dcgan_0", "cifar10_biggan_0", "cifar10_biggan_full_0"),
        figures=(
            "frechet",
            "density",
            "coverage",
            "sure",
            "as_asked",
            "nearest_pixels",
            "frechet_real",
            "nearest_pixels_real",
        ),
        goal="Fréchet distance at most half of our DCGAN's",
        checks=(Check("cifar10_biggan_0", "frechet", most(0.5), over="cifar10_dcgan_0"),),
        published=(
            "FID 9.6 with Inception's features, 8.7 with differentiable augmentation "
            "(BigGAN; Zhao et al. 2020, arXiv:2006.10738, table 4)"
        ),
        comparable=(
            "not with published distances: features of our own classifier, networks of a tenth of "
            "the width at 32x32, an hour of one core, and JPEG copies of CIFAR-10's images"
        ),
        findings=(
            "met at equal steps, {cifar10_biggan_0[frechet]:.2f} against half of "
            "{cifar10_dcgan_0[frechet]:.2f}, though not at equal time: a step of "
            "the DCGAN costs some three fifths, and after 2,000 steps the BigGAN-style run was no "
            "nearer (11.7 by 5,000 samples) than the DCGAN after 3,400 (11.35). The classifier "
            "reads {cifar10_biggan_0[as_asked_real]:.1%} of real test images rightly. The full "
            "size needs a GPU"
        ),
        pictures=("truncation.png", "cifar10_dcgan.png", "cifar10_biggan.png"),
    ),
)
