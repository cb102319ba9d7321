"""Rows of what is asked for by words, and of what is no picture."""

from benchmarks.figures import least
from benchmarks.results.row import Check, Row, Run

ROWS = (
    Row(
        system="Text to image",
        shows=(
            "Shapes of 32x32 by a prompt: size, shade, kind, place and turn in words, one in ten "
            "of the 180 combinations held out of training; 20 images of every caption, their "
            "attributes read back by a network that was trained on the data set's own pictures, "
            "right where all of them are."
        ),
        records=("shapes_prompted",),
        figures=("as_prompted", "as_prompted_unseen", "judge_accuracy"),
        goal="right in at least 95 % of the images; of combinations never seen, 85 %",
        checks=(
            Check("shapes_prompted", "as_prompted", least(0.95)),
            Check("shapes_prompted", "as_prompted_unseen", least(0.85)),
        ),
        published="none on this set, which is ours",
        comparable="with nothing published: the set and the judge are our own",
        runs=(Run("shapes_prompted", "shapes_prompted", None, ("prompts {run}",)),),
    ),
    Row(
        system="3-D objects",
        shows=(
            "Furniture of five kinds as 32x32x32 voxels, drawn in code from a few sizes that vary: "
            "a VAE with convolutions in three dimensions, its decoder told the kind. 500 test "
            "volumes rebuilt, by intersection over union; 500 samples against them, beside as many "
            "training volumes: how many test volumes a sample is nearest to, and how near."
        ),
        records=("furniture_vae",),
        figures=(
            "iou",
            "iou_least",
            "coverage",
            "coverage_real",
            "nearest_iou",
            "nearest_iou_real",
        ),
        goal="mean intersection over union at least 0.85; coverage at least 0.8 of real volumes'",
        checks=(
            Check("furniture_vae", "iou", least(0.85)),
            Check("furniture_vae", "coverage_ratio", least(0.8)),
        ),
        published=(
            "3D-GAN (Wu et al. 2016, arXiv:1610.07584) and its VAE variant: pictures of samples "
            "and features for classification, no figure of these kinds"
        ),
        comparable="not with theirs: other objects, half the side, an encoder and no discriminator",
        findings=(
            "beta is 8: with 1 test volumes were rebuilt a little better, and samples were more "
            "often of no kind. Some samples still lack legs, or have parts in the air"
        ),
        runs=(Run("furniture_vae", "furniture_vae", None, ("volumes {run}",)),),
    ),
)
