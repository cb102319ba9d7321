"""Pictures by a prompt."""

from runtime.images import ImageSpec
from train.captions import shapes
from train.networks.prompted import PromptedVAEParams
from train.objectives import ELBO, AdamParams
from train.recipes.recipe import Recipe, recipe


@recipe
def shapes_prompted() -> Recipe:
    return Recipe(
        summary="VAE that draws by a prompt: 'a large bright square at the top left, turned'",
        source="captioned-shapes",
        image=ImageSpec(height=32, width=32, channels=1, value_range=(0.0, 1.0)),
        objective=ELBO(
            PromptedVAEParams(
                latent=8,
                height=32,
                width=32,
                widths=(16, 32),
                decoder_widths=(16, 32),
                hidden=256,
                norm=True,
                classes=len(shapes().texts),
            ),
            AdamParams(2e-3, schedule="one_cycle"),
            warm_up=0.2,
        ),
        steps=12_000,
        batch_size=64,
        checkpoint_every=2000,
        sample_every=2000,
    )
