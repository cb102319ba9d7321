"""Volumes."""

from runtime.images import ImageSpec
from train.data.furniture import KINDS, SIDE
from train.networks.voxels import VoxelVAEParams
from train.objectives import ELBO, AdamParams
from train.recipes.recipe import Recipe, recipe


@recipe
def furniture_vae() -> Recipe:
    return Recipe(
        summary="VAE of furniture as 32x32x32 voxels, by its kind: beds, chairs, lamps, ...",
        source="furniture",
        image=ImageSpec(height=SIDE * SIDE, width=SIDE, channels=1, value_range=(0.0, 1.0)),
        objective=ELBO(
            VoxelVAEParams(latent=12, side=SIDE, classes=len(KINDS)),
            AdamParams(2e-3, schedule="one_cycle"),
            # With 1, what is rebuilt is better still, but samples are of no kind: the decoder has
            # seen only small parts of the prior.
            beta=8.0,
            warm_up=0.2,
        ),
        steps=3_000,
        batch_size=32,
        checkpoint_every=500,
        sample_every=500,
    )
