"""Networks: plain modules that know no losses, each with its frozen params dataclass."""

from train.networks.dcgan import DCGANParams, Discriminator, Generator, UniformLatents
from train.networks.iaf import FlowEncoder, IAFParams
from train.networks.resnet import ResNetDiscriminator, ResNetGenerator, ResNetParams
from train.networks.vae import Decoder, Encoder, VAEParams

__all__ = [
    "DCGANParams",
    "Decoder",
    "Discriminator",
    "Encoder",
    "FlowEncoder",
    "Generator",
    "IAFParams",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "ResNetParams",
    "UniformLatents",
    "VAEParams",
]
