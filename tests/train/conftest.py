"""Small recipes and data for tests of training."""

import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from runtime.images import ImageSpec
from train.data import Dataset, Splits
from train.networks.dcgan import DCGANParams
from train.networks.encoded_gan import EncodedGANParams
from train.networks.layered import LayeredParams
from train.networks.mlp import MLPParams
from train.networks.patches import PatchParams
from train.networks.residual import ResidualParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams, Adversarial, Autoregressive, Cycle, Translation
from train.recipes import RECIPES, Recipe

TRANSLATORS = [
    name for name, make in RECIPES.items() if isinstance(make().objective, Translation | Cycle)
]
"""Recipes of networks that make pictures of pictures."""
SAMPLERS = [
    name
    for name, make in RECIPES.items()
    if name not in TRANSLATORS and not isinstance(make().objective, Autoregressive)
]
"""Recipes of networks that make an image in one pass."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums depend on how many share them; another test of this process may have changed that."""
    torch.set_num_threads(1)


def random_splits(spec: ImageSpec, classes: int = 3, count: int = 24) -> Splits:
    generator = np.random.default_rng(0)

    def part(name: str) -> Dataset:
        return Dataset(
            name=name,
            images=generator.integers(0, 256, (count, *spec.shape)).astype(np.uint8),
            labels=generator.integers(0, classes, count),
            classes=tuple(f"class {i}" for i in range(classes)),
            licence="generated",
        )

    return Splits(train=part("random"), test=part("random-test"))


def tiny_vae() -> Recipe:
    return Recipe(
        name="tiny_vae",
        summary="a VAE for tests",
        source="random",
        image=ImageSpec(height=8, width=8, channels=1, value_range=(0.0, 1.0)),
        objective=ELBO(
            VAEParams(latent=2, height=8, width=8, widths=(4,), decoder_widths=(4,), hidden=8),
            AdamParams(1e-2, schedule="one_cycle"),
        ),
        steps=6,
        batch_size=10,
        sample_every=4,
        checkpoint_every=2,
        log_every=1,
    )


def tiny_gan() -> Recipe:
    """Every source of randomness, and everything that remembers, switched on."""
    return replace(
        tiny_vae(),
        name="tiny_gan",
        image=ImageSpec(height=8, width=8, channels=3),
        objective=Adversarial(
            DCGANParams(
                latent=4,
                height=8,
                width=8,
                stages=2,
                discriminator_stages=2,
                classes=3,
                generator_width=4,
                discriminator_width=4,
                dropout=0.3,
                discriminator_norm="spectral",
            ),
            label_noise=0.1,
            label_smoothing=0.1,
            r1=0.1,
            gradient_penalty=0.1,
            critic_steps=2,
            historical_averaging=0.1,
            augmentation=("flip", "colour", "shift", "cutout"),
        ),
        ema_decay=0.9,
    )


def narrow(recipe: Recipe) -> Recipe:
    """The same recipe at a tiny width, for two steps."""
    objective = recipe.objective
    if isinstance(objective.network, EncodedGANParams):
        gan = replace(objective.network.gan, generator_width=2, discriminator_width=2)
        widths = (2,) * len(objective.network.widths)
        network = replace(objective.network, gan=gan, widths=widths, hidden=8)
        objective = replace(objective, network=network)
    elif isinstance(objective.network, MLPParams):
        objective = replace(objective, network=replace(objective.network, hidden=4))
    elif isinstance(objective, ELBO):
        network = _narrow_vae(objective.network)
        flow = objective.flow and replace(objective.flow, hidden=8, context=4)
        objective = replace(objective, network=network, flow=flow, draws=min(objective.draws, 3))
    elif isinstance(objective, Autoregressive):
        network = replace(objective.network, features=2, layers=2, head=2)
        objective = replace(objective, network=network)
    elif isinstance(objective, Translation | Cycle):
        objective = _narrow_translation(objective)
    else:
        network = replace(objective.network, generator_width=2, discriminator_width=2)
        objective = replace(objective, network=network)
    return replace(recipe, objective=objective, steps=2, batch_size=4)


def _narrow_vae(network: VAEParams | LayeredParams) -> VAEParams | LayeredParams:
    if isinstance(network, LayeredParams):
        image, layers = _narrow_vae(network.image), len(network.above)
        assert isinstance(image, VAEParams)
        return replace(
            network, image=replace(image, latent=3), above=(2,) * layers, hidden=(8,) * layers
        )
    return replace(
        network,
        widths=(2,) * len(network.widths),
        decoder_widths=(2,) * len(network.decoder_widths),
        hidden=8,
    )


def _narrow_translation(objective: Translation | Cycle) -> Translation | Cycle:
    network = replace(objective.network, features=2)
    if isinstance(network, ResidualParams):
        network = replace(network, blocks=1)
    objective = replace(objective, network=network, patches=PatchParams(features=2))
    if isinstance(objective, Translation):
        return replace(objective, features=replace(objective.features, widths=(2, 2, 2)))
    return replace(objective, pool=3)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[tiny_vae, tiny_gan])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return request.param()


def deliver(number: signal.Signals) -> None:
    """Call what a signal (Ctrl-C is SIGINT) calls, without the signal: where other libraries of
    the process have set signals up for themselves, a real one may end a test run's worker."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("Python delivers signals to the main thread only")
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)
