"""Rows of translators: picture to picture."""

from benchmarks.figures import least, most
from benchmarks.results.row import Check, Row, Run

_DATA = (
    "CIFAR-10's 50,000 training pictures; figures of its 10,000 test pictures through the export: "
    "`l1` in grey levels, `psnr` in dB and `ssim` against the true pictures, and the Fréchet "
    "distance in the features of our frozen classifier to 10,000 training pictures (`real`: of the "
    "true test pictures). "
)
_PAIRED = ("frechet", "l1", "psnr", "ssim", "frechet_real")
_SETTINGS = (
    "Settings were chosen before any of these figures was seen. Sheets: a row each of what is "
    "given, made, wanted (where that is known), and of the simple answers; the first pictures, "
    "none chosen."
)

_FILLED = (
    *(f"psnr_{mask}{by}" for mask in ("centre", "free") for by in ("", "_mean", "_opencv")),
    "l1_hole_centre",
    *(f"frechet_centre{by}" for by in ("", "_mean", "_opencv")),
)


def _runs(*recipes: str, judge: str = "translation", back: bool = False) -> tuple[Run, ...]:
    """A run a recipe, judged with a sheet where it is not an L1-only network; of a CycleGAN `back`
    too, in a record of its own."""
    runs: list[Run] = []
    for recipe in recipes:
        command = f"{judge} {{run}} --data {{data}}"
        other = (f"{command} --back --record {recipe}_back_0",) if back else ()
        sheet = "" if recipe.endswith("_l1") else f" --out docs/results/{recipe}.png"
        runs.append(Run(f"{recipe}_0", recipe, "cifar10", (command + sheet, *other)))
    return tuple(runs)


ROWS = (
    Row(
        system="pix2pix",
        shows=(
            f"{_DATA}Grey pictures in colour, and pictures from their edges (Sobel): a U-Net of "
            "width 32 with four halvings, a discriminator of 16x16 patches beside L1, batches of "
            f"32; the runs with `l1` lack the discriminator. {_SETTINGS}"
        ),
        records=(
            "cifar10_pix2pix_0",
            "cifar10_pix2pix_l1_0",
            "cifar10_pix2pix_edges_0",
            "cifar10_pix2pix_edges_l1_0",
        ),
        figures=(*_PAIRED, "frechet_grey", "l1_grey"),
        goal="a smaller Fréchet distance than the L1-only network's, for at most 1.5 times its L1",
        checks=tuple(
            check
            for name in ("cifar10_pix2pix", "cifar10_pix2pix_edges")
            for check in (
                Check(f"{name}_0", "frechet", most(1.0), over=f"{name}_l1_0"),
                Check(f"{name}_0", "l1", most(1.5), over=f"{name}_l1_0"),
            )
        ),
        published=(
            "22.5% of coloured pictures taken for real ones by people, regression's 16.3% "
            "(Isola et al. 2017, arXiv:1611.07004)"
        ),
        comparable="only in which is ahead: their pictures are 256x256, and their judges people",
        findings=(
            "grey to colour: as far from the true pictures as the L1-only network's but for a few "
            "percent ({cifar10_pix2pix_0[l1]:.1f} to {cifar10_pix2pix_l1_0[l1]:.1f} grey levels), "
            "and nearer to them as a set ({cifar10_pix2pix_0[frechet]:.2f} to "
            "{cifar10_pix2pix_l1_0[frechet]:.2f}): more colourful, where the L1-only network is "
            "brownish. Some light pictures have spots of wrong colours near the upper left corner, "
            "as GANs with batch norm have them. Edges to picture: the discriminator nearly halves "
            "the Fréchet distance ({cifar10_pix2pix_edges_l1_0[frechet]:.1f} to "
            "{cifar10_pix2pix_edges_0[frechet]:.1f}); yet one sees patches of colour in a grid, "
            "and what is in the picture only by its outline: at 32x32 an edge map says little of "
            "what is inside"
        ),
        pictures=("cifar10_pix2pix.png", "cifar10_pix2pix_edges.png"),
        runs=_runs(
            "cifar10_pix2pix",
            "cifar10_pix2pix_l1",
            "cifar10_pix2pix_edges",
            "cifar10_pix2pix_edges_l1",
        ),
    ),
    Row(
        system="Inpainting",
        shows=(
            f"{_DATA}The middle of the picture (16x16), and a thick stroke across it, are painted "
            "anew by one U-Net that is given the mask; `l1 hole` is of the pixels under it. "
            "`mean`: the mean colour of what is known; `opencv`: Telea's method, on the same "
            f"pictures. {_SETTINGS}"
        ),
        records=("cifar10_inpainting_0", "cifar10_inpainting_l1_0"),
        figures=_FILLED,
        goal=(
            "a higher PSNR than the mean colour and, of the L1-only network, than OpenCV's, for "
            "both masks; with the discriminator a smaller Fréchet distance than the L1-only "
            "network's"
        ),
        checks=(
            Check("cifar10_inpainting_l1_0", "psnr_over_centre_opencv", least(0.0)),
            Check("cifar10_inpainting_l1_0", "psnr_over_free_opencv", least(0.0)),
            Check("cifar10_inpainting_0", "psnr_over_centre_mean", least(0.0)),
            Check("cifar10_inpainting_0", "psnr_over_free_mean", least(0.0)),
            Check(
                "cifar10_inpainting_0",
                "frechet_centre",
                most(1.0),
                over="cifar10_inpainting_l1_0",
            ),
        ),
        published=(
            "PSNR 18.58 dB, mean L1 9.37% for the middle of street views of 128x128 "
            "(Pathak et al. 2016, arXiv:1604.07379, table 1)"
        ),
        comparable="not with the published figures: other pictures, and holes of 16 pixels a side",
        findings=(
            "{cifar10_inpainting_0[psnr_over_centre_mean]:.1f} dB above the mean colour in the "
            "middle and {cifar10_inpainting_0[psnr_over_free_mean]:.1f} under strokes. The "
            "L1-only network is {cifar10_inpainting_l1_0[psnr_over_centre_opencv]:.1f} and "
            "{cifar10_inpainting_l1_0[psnr_over_free_opencv]:.1f} dB above OpenCV's (Telea), which "
            "is {cifar10_inpainting_l1_0[psnr_centre_opencv]:.1f} dB in the middle. The "
            "discriminator costs a little PSNR ({cifar10_inpainting_l1_0[psnr_centre]:.1f} to "
            "{cifar10_inpainting_0[psnr_centre]:.1f} dB) and brings the set nearer to true "
            "pictures (Fréchet {cifar10_inpainting_l1_0[frechet_centre]:.1f} to "
            "{cifar10_inpainting_0[frechet_centre]:.1f}). Sky and grass go on without a seam; of "
            "an animal whose head is hidden, a blurred guess is left"
        ),
        pictures=("cifar10_inpainting.png",),
        runs=_runs("cifar10_inpainting", "cifar10_inpainting_l1"),
    ),
    Row(
        system="Super-resolution (SRGAN, ESRGAN)",
        shows=(
            f"{_DATA}8x8 to 32x32 by a residual network without norms: first by pixels alone, then "
            "with a discriminator of patches and the features of a classifier that the run itself "
            "trained, another one than the judge. The run with `l1` knows pixels only. `bicubic`: "
            f"Pillow's. {_SETTINGS}"
        ),
        records=("cifar10_srgan_0", "cifar10_srgan_l1_0"),
        figures=(
            *_PAIRED,
            *(f"{figure}_bicubic" for figure in ("frechet", "psnr", "ssim")),
        ),
        goal=(
            "without the discriminator a higher PSNR than bicubic, with it a smaller Fréchet "
            "distance than without"
        ),
        checks=(
            Check("cifar10_srgan_l1_0", "psnr_over_bicubic", least(0.0)),
            Check("cifar10_srgan_0", "frechet", most(1.0), over="cifar10_srgan_l1_0"),
        ),
        published=(
            "Set14, 4x: bicubic 25.99 dB, SRResNet 28.49, SRGAN 26.02; SSIM 0.749, 0.818, 0.740 "
            "(Ledig et al. 2017, arXiv:1609.04802, table 2)"
        ),
        comparable=(
            "in the order of the three alone: 8x8 pixels hold less of a picture than a photo's "
            "quarter does"
        ),
        findings=(
            "By pixels alone {cifar10_srgan_l1_0[psnr_over_bicubic]:.2f} dB above bicubic; with "
            "the discriminator {cifar10_srgan_0[psnr_over_bicubic]:.2f} dB, and the set is far "
            "nearer to true pictures (Fréchet {cifar10_srgan_l1_0[frechet]:.1f} to "
            "{cifar10_srgan_0[frechet]:.1f}): as in the paper, sharper, and further from each "
            "one. Outlines, fur and wheels are sharp and plausible; what 8x8 pixels do not hold, "
            "a face or the windows of a bus, is invented"
        ),
        pictures=("cifar10_srgan.png",),
        runs=_runs("cifar10_srgan", "cifar10_srgan_l1"),
    ),
    Row(
        system="Style transfer (Johnson)",
        shows=(
            "One network a style, whose picture is drawn in code; content and style distances "
            "(squared, relative to the squared features or Gram matrices wanted; `total`: their "
            "weighted sum) of 64 test pictures of CIFAR-10, in the features of a classifier that "
            "the run itself trained. `gatys`: each picture optimised for 300 steps on the same "
            "features (the sheet's last row); `unchanged`: the picture itself. Third try: with "
            "halvings, and with instance norms, the mosaic's network was no better than the "
            "unchanged picture (`total` 0.815 to 0.833, 0.888 to 0.798), and was changed by its "
            "losses in training."
        ),
        records=("cifar10_style_mosaic_0", "cifar10_style_waves_0"),
        figures=(
            "gatys_steps_to_equal",
            *(f"{d}{of}" for d in ("content", "style", "total") for of in ("", "_gatys")),
            "style_unchanged",
        ),
        goal="as good as 50 steps of the optimisation",
        checks=tuple(
            Check(f"cifar10_style_{style}_0", "gatys_steps_to_equal", least(50))
            for style in ("mosaic", "waves")
        ),
        published="as good as 50 to 100 steps (Johnson et al. 2016, arXiv:1603.08155, section 4.1)",
        comparable=(
            "roughly: they optimise with L-BFGS, we with Adam; features and pictures are our own"
        ),
        findings=(
            "as good as {cifar10_style_mosaic_0[gatys_steps_to_equal]} steps of the optimisation, "
            "short of 50: style {cifar10_style_mosaic_0[style]:.2f} where the unchanged picture "
            "has {cifar10_style_mosaic_0[style_unchanged]:.2f} and the optimisation comes to "
            "{cifar10_style_mosaic_0[style_gatys]:.2f}. Dark joints with coloured edges are drawn "
            "around what is dark, and subjects stay legible; there are no tiles. Waves: "
            "{cifar10_style_waves_0[gatys_steps_to_equal]} steps; style "
            "{cifar10_style_waves_0[style]:.2f} where the unchanged picture has "
            "{cifar10_style_waves_0[style_unchanged]:.2f} and the optimisation comes to "
            "{cifar10_style_waves_0[style_gatys]:.2f}. Slanting bands of blue and yellow follow "
            "what is dark, cleaner than the optimisation's dots, and leave outlines of the "
            "subject. Suspected are the budget and the few channels: the loss still fell"
        ),
        pictures=("cifar10_style_mosaic.png", "cifar10_style_waves.png"),
        runs=_runs("cifar10_style_mosaic", "cifar10_style_waves", judge="style"),
    ),
    Row(
        system="CycleGAN",
        shows=(
            "CIFAR-10 in two kinds: half of the training pictures as they are, the other half as "
            "negatives with their hues turned by 120 degrees; no pairs are told, and no "
            "picture is in both. So the true answer is known: `l1`, `psnr`, `ssim` as above, and "
            "`right`, the share of test pictures nearer to it than to what was given; `unchanged`: "
            "what was given. `back`: the other direction. Horses into deer have no true answer: "
            "`of class` is the share of test horses that the classifier takes for deer. "
            f"{_SETTINGS}"
        ),
        records=(
            "cifar10_cyclegan_0",
            "cifar10_cyclegan_back_0",
            "cifar10_cyclegan_horses_0",
            "cifar10_cyclegan_horses_back_0",
        ),
        figures=(
            "right",
            *("l1", "psnr", "ssim", "frechet", "l1_unchanged", "frechet_unchanged"),
            *("of_class", "of_class_unchanged"),
        ),
        goal="nearer to the true answer than what was given: 95% of the pictures, both ways",
        checks=(
            Check("cifar10_cyclegan_0", "right", least(0.95)),
            Check("cifar10_cyclegan_back_0", "right", least(0.95)),
        ),
        published=(
            "52% of pixels rightly read in street views made of labels, 58% of labels right the "
            "other way (Zhu et al. 2017, arXiv:1703.10593, tables 2 and 3)"
        ),
        comparable="not: their task is harder, and its answer only a network's reading",
        findings=(
            "{cifar10_cyclegan_0[right]:.1%} of the pictures are nearer to the true answer, which "
            "the training never saw beside its picture, and {cifar10_cyclegan_0[l1]:.1f} grey "
            "levels from it ({cifar10_cyclegan_0[psnr]:.1f} dB): light and dark are exchanged and "
            "hues turned as they should, a little paler where a colour is rare. Both networks are "
            "without instance norms, which take away how bright a picture is. Horses into deer, by "
            "eye: the horses stay horses, a little browner and duller. The classifier takes "
            "{cifar10_cyclegan_horses_0[of_class]:.1%} of them for deer, and "
            "{cifar10_cyclegan_horses_0[of_class_unchanged]:.1%} of the true ones; the Fréchet "
            "distance to deer falls from {cifar10_cyclegan_horses_0[frechet_unchanged]:.1f} to "
            "{cifar10_cyclegan_horses_0[frechet]:.1f}. Suspected are the cycle and identity terms, "
            "which hold it to the picture, and the budget of 5,000 batches"
        ),
        pictures=("cifar10_cyclegan.png", "cifar10_cyclegan_horses.png"),
        runs=_runs("cifar10_cyclegan", "cifar10_cyclegan_horses", back=True),
    ),
)
