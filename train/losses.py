"""Losses: pure functions of network outputs.

Likelihood terms are sums over pixels, in nats per image, averaged over the batch.
Discriminator outputs are scores [B], high for real; where a loss needs a probability they are its
logit: D(x) = sigmoid(score).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(x|z) for pixels in [0, 1] taken as Bernoulli means; nats per image [B].

    Kingma and Welling (2014), appendix C.1, eq. 11.
    """
    return (
        functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
        .flatten(1)
        .sum(1)
    )


def negative_elbo(nll: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """E[nll + beta * KL] over the batch. Higgins et al. (2017), beta-VAE, eq. 4; beta 1: ELBO."""
    return (nll + beta * kl).mean()


def negative_weighted_bound(log_weights: Tensor) -> Tensor:
    """-E[log (1/k) sum_i w_i] over the batch, from log w_i = log p(x, z_i) - log q(z_i|x) [B, k].

    Burda et al. (2016), arXiv:1509.00519, eq. 8. Its gradient weighs each draw by its share of the
    sum (eq. 14).
    """
    return math.log(log_weights.shape[1]) - log_weights.logsumexp(dim=1).mean()


def noisy_targets(like: Tensor, real: bool, noise: float, smoothing: float = 0.0) -> Tensor:
    """Discriminator targets with uniform noise towards the middle, and one-sided smoothing.

    Real: 1 - smoothing - noise * U; fake: noise * U, with U ~ Uniform(0, 1) for every image.
    Smoothing: Salimans et al. (2016), section 3.4, arXiv:1606.03498 (never of the fakes).
    Noise: after Chollet, "Deep Learning with Python", 2nd ed., section 12.5, who adds it to both
    kinds of target: towards the middle for one of them, beyond the end for the other.
    """
    uniform = torch.rand_like(like)
    return 1 - smoothing - noise * uniform if real else noise * uniform


def discriminator_cross_entropy(
    real: Tensor, fake: Tensor, *, noise: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], its targets softened by `noisy_targets`.

    Goodfellow et al. (2014), eq. 1, arXiv:1406.2661.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits
    return cross_entropy(real, noisy_targets(real, True, noise, smoothing)) + cross_entropy(
        fake, noisy_targets(fake, False, noise)
    )


def generator_non_saturating(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]. Goodfellow et al. (2014), section 3."""
    return functional.softplus(-fake).mean()


def generator_minimax(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]: the same minimax value as the discriminator's, which saturates.

    Goodfellow et al. (2014), eq. 1.
    """
    return -functional.softplus(fake).mean()


def discriminator_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2 on raw scores.

    Mao et al. (2017), eq. 9 (targets a = 0, b = c = 1), arXiv:1611.04076.
    """
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def generator_least_squares(fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2] / 2. Mao et al. (2017), eq. 9."""
    return 0.5 * (fake - 1).square().mean()


def critic_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)]: minus a Wasserstein distance, as far as the critic is 1-Lipschitz.

    Arjovsky, Chintala and Bottou (2017), eq. 3, arXiv:1701.07875.
    """
    return fake.mean() - real.mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] on raw scores.

    Lim and Ye (2017), arXiv:1705.02894; Miyato et al. (2018), eq. 16, arXiv:1802.05957.
    """
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def generator_score(fake: Tensor) -> Tensor:
    """-E[D(G(z))]: Arjovsky et al. (2017), algorithm 1; Miyato et al. (2018), eq. 17."""
    return -fake.mean()


def discriminator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """E[-log sigmoid(D(x) - D(G(z)))]: real images score higher than the fakes beside them.

    Huang et al. (2024), R3GAN, eq. 2 with f(t) = -log(1 + exp(-t)), arXiv:2501.05441;
    Jolicoeur-Martineau (2019), arXiv:1807.00734.
    """
    return functional.softplus(fake - real).mean()


def generator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """E[-log sigmoid(D(G(z)) - D(x))]: the same pairs, with real and generated exchanged. R3GAN,
    eq. 2."""
    return functional.softplus(real - fake).mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """|E f(x) - E f(G(z))|^2 for features [B, F] of the discriminator, instead of its scores.

    Salimans et al. (2016), section 3.1, arXiv:1606.03498.
    """
    return (real.mean(dim=0) - fake.mean(dim=0)).square().sum()


def content_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """|f(y) - f(x)|^2 over |f(x)|^2 for feature maps [B, C, H, W]; a mean over images.

    Johnson, Alahi and Fei-Fei (2016), eq. 2, arXiv:1603.08155, but relative: features of a
    classifier have no scale of their own.
    """
    return _relative_squares(made, wanted).mean()


def style_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """The same of Gram matrices: which features occur together, wherever that is.

    `wanted` [1, C, H, W], of the style, may have another size. Gatys, Ecker and Bethge (2016),
    "Image Style Transfer Using CNNs", eq. 3 to 5; Johnson et al. (2016), eq. 3 and 4.
    """
    grams = gram(made)
    return _relative_squares(grams, gram(wanted).expand_as(grams)).mean()


def gram(features: Tensor) -> Tensor:
    """Means over positions of the products of all pairs of channels: [B, C, H, W] -> [B, C, C]."""
    # Autocast would multiply in bf16 even what is fp32, as losses are to be.
    with torch.autocast(features.device.type, enabled=False):
        values = features.flatten(2)
        return values @ values.transpose(1, 2) / values.shape[2]


def _relative_squares(made: Tensor, wanted: Tensor) -> Tensor:
    """[B, ...] and [B, ...] -> [B]"""
    squares = (made - wanted).square().flatten(1).sum(1)
    return squares / wanted.square().flatten(1).sum(1).clamp(min=1e-12)


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two networks minimise, each a function of scores [B]."""

    discriminator: Callable[..., Tensor]
    """(real, fake), and `noise` and `smoothing` by name where `targets` is set."""
    generator: Callable[..., Tensor]
    """(fake), or (real, fake) where `paired` is set."""
    targets: bool = False
    paired: bool = False


ADVERSARIAL = {
    "non_saturating": AdversarialLoss(
        discriminator_cross_entropy, generator_non_saturating, targets=True
    ),
    "minimax": AdversarialLoss(discriminator_cross_entropy, generator_minimax, targets=True),
    "least_squares": AdversarialLoss(discriminator_least_squares, generator_least_squares),
    "wasserstein": AdversarialLoss(critic_wasserstein, generator_score),
    "hinge": AdversarialLoss(discriminator_hinge, generator_score),
    "relativistic": AdversarialLoss(
        discriminator_relativistic, generator_relativistic, paired=True
    ),
}


def adversarial(name: str, *, paired: bool = True) -> AdversarialLoss:
    """The loss of this name; `paired` False: if it has no pairs. ValueError names those to choose
    from."""
    known = {key: loss for key, loss in ADVERSARIAL.items() if paired or not loss.paired}
    if name not in known:
        raise ValueError(f"loss: expected one of {', '.join(known)}; found {name!r}")
    return known[name]


def zero_centred_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """E[|grad_x D(x)|^2] / 2: R1 on real images, R2 on generated ones.

    Mescheder, Geiger and Nowozin (2018), eq. 9 and 10, arXiv:1801.04406, with gamma left to the
    caller. The images must require a gradient.
    """
    return 0.5 * _slopes(scores, images).square().mean()


def one_centred_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """E[(|grad_x D(x)| - 1)^2] on `interpolated` images, which must require a gradient.

    Gulrajani et al. (2017), WGAN-GP, eq. 3, arXiv:1704.00028, with lambda left to the caller.
    """
    return (_slopes(scores, images) - 1).square().mean()


def interpolated(real: Tensor, fake: Tensor, pack: int = 1) -> Tensor:
    """A point between each pair of images, uniform on the line. Gulrajani et al., algorithm 1.

    Where a critic scores `pack` images together, they are one point of it: they share their place.
    """
    share = torch.rand(len(real) // pack, 1, 1, 1, device=real.device)
    return torch.lerp(fake, real, share.repeat_interleave(pack, dim=0))


def _slopes(scores: Tensor, images: Tensor) -> Tensor:
    """|grad D| of each score [B]; a score of several images (a pack) has one gradient for all."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return torch.linalg.vector_norm(gradient.reshape(len(scores), -1), dim=1)
