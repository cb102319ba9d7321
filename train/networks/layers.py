"""What several networks share: how labels join latents, norms that know a label or a reference
batch, and the statistic of a whole batch.

Shapes: B batch, R reference batch, C channels, H height, W width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def one_hot(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Labels int64 [B] -> [B, classes], of the dtype of `like`."""
    return functional.one_hot(labels, classes).to(like.dtype)


def with_labels(latents: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """What a decoder of so many classes takes: latents [B, Z] with their labels int64 [B] behind
    them, one-hot; without classes as they are. ValueError where labels are missing."""
    if not classes:
        return latents
    if labels is None:
        raise ValueError("labels: expected int64 [B] for a conditional decoder")
    return torch.cat([latents, one_hot(labels, classes, latents)], dim=1)


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and bias are looked up by label; [B, C, H, W], labels [B] -> same.

    De Vries et al. (2017), arXiv:1707.00683. The normalised features know only the latent, so
    that a generator cannot leave it unread and draw one picture for each label. Gain and bias are
    one number a channel, or, where `size` is (H, W), one at every position.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.shape = (channels, *size)
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, math.prod(self.shape))
        self.bias = nn.Embedding(classes, math.prod(self.shape))
        nn.init.normal_(self.gain.weight, 1.0, 0.02)
        # Labels differ from the start: from zero, Adam's small steps take thousands to part them.
        nn.init.normal_(self.bias.weight, 0.0, 0.5)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        gain = self.gain(labels).unflatten(1, self.shape)
        bias = self.bias(labels).unflatten(1, self.shape)
        return gain * self.norm(features) + bias


class VirtualBatchNorm2d(nn.Module):
    """Norm by the statistics of a fixed reference batch and of the image itself, so that images of
    one batch do not depend on each other; [R + B, C, H, W] -> same.

    Salimans et al. (2016), section 3.5, arXiv:1606.03498. In training the first `reference` rows
    are the reference batch; outside it there are none, and what they gave last stands in the
    buffers.
    """

    moments: Tensor

    def __init__(self, channels: int, reference: int) -> None:
        super().__init__()
        self.reference = reference
        self.gain = nn.Parameter(torch.empty(channels, 1, 1).normal_(1.0, 0.02))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("moments", torch.stack([torch.zeros(channels), torch.ones(channels)]))

    def forward(self, features: Tensor) -> Tensor:
        values = features.float()  # squares of bf16 would cancel
        own = torch.stack([values, values.square()]).mean(dim=(3, 4))  # [2, R + B, C]
        if self.training:
            shared = own[:, : self.reference].mean(dim=1, keepdim=True)
            self.moments.copy_(shared[:, 0].detach())
        else:
            shared = self.moments[:, None]
        # An image counts as one more member of the reference batch.
        moments = shared + (own - shared) / (self.reference + 1)
        if self.training:  # whose own members are normed by it alone
            reference = shared.expand(-1, self.reference, -1)
            moments = torch.cat([reference, moments[:, self.reference :]], dim=1)
        mean, square = moments
        scale = (square - mean.square()).clamp(min=0).add(1e-5).rsqrt()
        normed = (values - mean[..., None, None]) * scale[..., None, None]
        return (self.gain * normed + self.bias).to(features.dtype)


class MinibatchDeviation(nn.Module):
    """One more channel: how much the batch varies; [B, C, H, W] -> [B, C + 1, H, W].

    Karras et al. (2018), section 3, arXiv:1710.10196: standard deviation over the batch at each
    position, averaged over all; simpler than the minibatch discrimination of Salimans et al.
    (2016), section 3.2, and for the same end: a batch of one picture gives itself away.
    """

    def forward(self, features: Tensor) -> Tensor:
        # sqrt has an infinite slope at 0, where all images agree.
        deviation = features.var(dim=0, unbiased=False).add(1e-8).sqrt().mean()
        return torch.cat([features, deviation.expand_as(features[:, :1])], dim=1)
