"""Rows of the VAE family."""

from benchmarks.figures import least, most
from benchmarks.results.row import Check, Row, Run

WIDE = ("mnist_vae_wide_0", "mnist_vae_wide_1", "mnist_vae_wide_2")
"""Three seeds of training."""

_BOUND = "likelihood {run} --data {data}"
PIXELCNN = Run("mnist_pixelcnn", "mnist_pixelcnn", "mnist", (_BOUND,))
IWAE = Run("mnist_iwae", "mnist_iwae", "mnist", (_BOUND,))
# Convolutions are dear to evaluate: fewer draws, which can only raise the figure.
RESIDUAL = Run("mnist_iaf_residual", "mnist_iaf_residual", "mnist", (f"{_BOUND} --k 1000",))
LADDER = Run(
    "mnist_ladder",
    "mnist_ladder",
    "mnist",
    (f"{_BOUND} --k 1000", "layers {run} --out docs/results/mnist_ladder.png"),
)
PLANE = Run(
    "mnist_vae_2d_residual",
    "mnist_vae_2d_residual",
    "mnist",
    ("manifold {run} --out docs/results/mnist_vae_2d_residual.png",),
)
_SET_BEFOREHAND = "Settings were set beforehand, by no figure of test images."

ROWS = (
    Row(
        system="VAE (Kingma & Welling)",
        shows=(
            "MNIST, drawn binary anew at every step; a fixed binary draw of all 10,000 test "
            "images; negative log-likelihood in nats an image by the importance-weighted bound "
            "with 5,000 draws."
        ),
        records=("mnist_vae_binary",),
        figures=("iw_5000", "iw_5000_standard_error", "negative_elbo", "test_kl"),
        goal="IW-5000 at most 86.8 nats",
        checks=(Check("mnist_vae_binary", "iw_5000", most(86.8)),),
        published="86.77 to 87.78 (Burda et al. 2016, arXiv:1509.00519, and others after them)",
        comparable=(
            "same data, split and estimator; the test images' binary draw is our own, the networks "
            "are not theirs (batch norm, KL warm-up), and the run was resumed once to more steps"
        ),
    ),
    Row(
        system="VAE with inverse autoregressive flow posterior",
        shows=(
            "The same network, its posterior bent by an inverse autoregressive flow in the "
            "encoder; trained for fewer steps than the diagonal one, so that the gain is not one "
            "of budget."
        ),
        records=("mnist_vae_binary", "mnist_vae_iaf"),
        figures=("iw_5000", "negative_elbo", "test_kl"),
        goal="at least 1 nat better than the diagonal posterior; 80.0",
        checks=(
            Check("mnist_vae_iaf", "iw_5000", least(1), below="mnist_vae_binary"),
            Check("mnist_vae_iaf", "iw_5000", most(80)),
        ),
        published="79.10 (Kingma et al. 2016, arXiv:1606.04934, table 1)",
        comparable=(
            "same data, split and kind of bound; theirs has residual convolutions and eight flow "
            "steps six times as wide as ours"
        ),
        findings=(
            "better ({mnist_vae_iaf[iw_5000]:.2f} to {mnist_vae_binary[iw_5000]:.2f}) and short of "
            "80.0: dense layers of 300 and 30,000 steps on a CPU "
            "core, where the loss was still falling"
        ),
    ),
    Row(
        system="IAF with residual convolutions",
        shows=(
            "The same data and flow; convolutional residual networks between image and latent, in "
            "place of dense ones. The bound has 1,000 draws an image, as 5,000 take hours: with "
            f"more of them it can only come down. {_SET_BEFOREHAND}"
        ),
        records=(RESIDUAL.name,),
        figures=("iw_1000", "iw_1000_standard_error", "negative_elbo", "test_kl"),
        goal="at most 81.5 nats; 80.0",
        checks=(
            Check(RESIDUAL.name, "iw_1000", most(81.5)),
            Check(RESIDUAL.name, "iw_1000", most(80)),
        ),
        published="79.10 (Kingma et al. 2016, arXiv:1606.04934, table 1)",
        comparable=(
            "same data and split, an estimator with fewer draws; theirs has wider flows, weight "
            "norm and far longer training than our 64 epochs"
        ),
        findings=(
            "{mnist_iaf_residual[iw_1000]:.1f} nats (standard error "
            "{mnist_iaf_residual[iw_1000_standard_error]:.1f}): better than the same flow behind "
            "dense networks (the row above), and short of 80.0. Suspected is the budget: 64 passes "
            "over the data, and four steps of the flow where theirs has eight, and wider ones"
        ),
        runs=(RESIDUAL,),
    ),
    Row(
        system="Ladder VAE",
        shows=(
            "Five stochastic layers (4, 8, 16, 32 and 64 dimensions from the top), the posterior "
            "merged with the prior from the top down; residual convolutions at the image. One seed "
            "draws all layers: the decoder takes a noise input for each. `moved`: root mean square "
            "change (grey levels) of 2,000 samples where one layer alone is drawn again; `class "
            "kept`: the share that stays the same digit. The picture: four samples, a line for "
            "each layer from the top, the sample itself and then that layer drawn again. "
            f"{_SET_BEFOREHAND}"
        ),
        records=(LADDER.name,),
        figures=(
            "iw_1000",
            "iw_1000_standard_error",
            "negative_elbo",
            "test_kl",
            *(f"{name}_layer_{n}" for n in range(5, 0, -1) for name in ("moved", "class_kept")),
        ),
        goal="at most 81.5 nats; 80.0",
        checks=(
            Check(LADDER.name, "iw_1000", most(81.5)),
            Check(LADDER.name, "iw_1000", most(80)),
        ),
        published=(
            "82.12, and 81.74 after fine-tuning with 10 importance samples (Sønderby et al. 2016, "
            "arXiv:1602.02282, table 1, five layers)"
        ),
        comparable=(
            "same data and split, an estimator with fewer draws; theirs has dense networks and "
            "far longer training than our 64 epochs, ours residual convolutions at the image"
        ),
        findings=(
            "81.5 is missed by two hundredths of a nat, a tenth of the standard error, and 80.0 by "
            "1.5; the published bounds are above ours. Suspected: 64 passes over the data, and a "
            "layer that does little. Drawn again, the first layer from the top changes the digit "
            "({mnist_ladder[class_kept_layer_5]:.0%} stay the same), and so does the third "
            "({mnist_ladder[class_kept_layer_3]:.0%}); the fourth its outline, the last its "
            "strokes. The second changes {mnist_ladder[moved_layer_4]:.0f} grey levels where the "
            "others change {mnist_ladder[moved_layer_1]:.0f} to {mnist_ladder[moved_layer_3]:.0f}"
        ),
        pictures=("mnist_ladder.png",),
        runs=(LADDER,),
    ),
    Row(
        system="IWAE",
        shows=(
            "Two stochastic layers of 100 and 50 dimensions, dense networks as in the paper (with "
            "batch norm), trained on the importance-weighted bound of 50 draws. "
            f"{_SET_BEFOREHAND}"
        ),
        records=(IWAE.name,),
        figures=("iw_5000", "iw_5000_standard_error", "negative_elbo", "test_kl"),
        goal="IW-5000 at most 83.5 nats",
        checks=(Check(IWAE.name, "iw_5000", most(83.5)),),
        published=(
            "82.90 (Burda et al. 2016, arXiv:1509.00519, table 1, two layers, k = 50) to 84.6"
        ),
        comparable=(
            "same data, split and estimator; the test images' binary draw is our own, batch norm "
            "and averaged weights are ours, and theirs saw a hundred times as many images"
        ),
        findings=(
            "the bound of 5,000 draws, {mnist_iwae[iw_5000]:.1f} nats, misses the goal; with one "
            "draw it is {mnist_iwae[negative_elbo]:.1f}, so that the draws do what they are there "
            "for. Suspected is the budget: 27 passes over the training images, where the paper's "
            "schedule has 3,280; the loss was still falling in the last fifth of the steps"
        ),
        runs=(IWAE,),
    ),
    Row(
        system="Gated PixelCNN",
        shows=(
            "The autoregressive baseline: -log p(x) itself, without a bound, of the same fixed "
            "binary draw of all 10,000 test images. Trained and evaluated, not served: an image "
            "takes a pass for each of its 784 pixels. "
            f"{_SET_BEFOREHAND}"
        ),
        records=(PIXELCNN.name,),
        figures=("exact", "exact_standard_error"),
        goal="at most 81.5 nats",
        checks=(Check(PIXELCNN.name, "exact", most(81.5)),),
        published="81.30 (PixelCNN; van den Oord et al. 2016, arXiv:1601.06759, table 4)",
        comparable=(
            "same data and split, both exact; the test images' binary draw is our own, and the "
            "network is the later gated one, narrower and trained for six epochs"
        ),
        findings=(
            "{mnist_pixelcnn[exact]:.1f} nats, short of the goal, and about what the VAEs' bounds "
            "are here. Suspected is the budget: six passes over the training images by seven "
            "layers of 32 channels; the loss of training batches still fell, slowly (a nat over "
            "the last third of the steps). In bf16, which is twice as fast on this processor; not "
            "tried again with more"
        ),
        runs=(PIXELCNN,),
    ),
    Row(
        system="2-D manifold",
        shows=(
            "Negative ELBO of test images, nats, with a latent plane and grey levels as Bernoulli "
            "means; every class on the grid of the plane."
        ),
        records=("mnist_vae_2d",),
        figures=("test_loss", "test_reconstruction", "test_kl", "classes_on_grid"),
        goal="test loss at most 134 nats, all ten classes on the grid",
        checks=(
            Check("mnist_vae_2d", "test_loss", most(134)),
            Check("mnist_vae_2d", "classes_on_grid", least(10)),
        ),
        published="146.95, trained on the test set too, as ours is not (source not recorded)",
        comparable="same loss on the same test images; theirs had seen them in training",
        findings=(
            "the test loss of {mnist_vae_2d[test_loss]:.1f} misses the goal: the encoder overfits "
            "(132.7 on training images). In a trial, with pixels drawn binary at every step as "
            "noise on its input, the loss rose to 134.7 on training images and stayed at 135.0 on "
            "test images: a stronger decoder is the next thing to try"
        ),
        pictures=("mnist_vae_2d.png",),
    ),
    Row(
        system="2-D manifold again",
        shows=(
            "The same loss and test images; residual convolutions in both networks, deeper dense "
            "layers, and training pixels drawn binary at every step, so that the encoder cannot "
            f"learn the images by heart. {_SET_BEFOREHAND}"
        ),
        records=(PLANE.name,),
        figures=("test_loss", "test_reconstruction", "test_kl", "classes_on_grid"),
        goal="test loss at most 134.0 nats, all ten classes on the grid",
        checks=(
            Check(PLANE.name, "test_loss", most(134)),
            Check(PLANE.name, "classes_on_grid", least(10)),
        ),
        published="146.95, trained on the test set too, as ours is not (source not recorded)",
        comparable="same loss on the same test images; theirs had seen them in training",
        findings=(
            "met. A classifier is sure of {mnist_vae_2d_residual[sure_on_grid]:.0%} of the places "
            "of the grid; between two classes lie a few smudges. The code costs "
            "{mnist_vae_2d_residual[test_kl]:.1f} nats, the pixels the rest"
        ),
        pictures=("mnist_vae_2d_residual.png",),
        runs=(PLANE,),
    ),
    Row(
        system="beta-VAE",
        shows=(
            "Rectangles with known factors (x, y, size, angle, shade) made in code: traversals, a "
            "row a latent dimension, and the mutual information gap."
        ),
        records=("shapes_beta_vae",),
        figures=("mutual_information_gap", "test_loss", "test_kl"),
        goal="a row of pictures for each dimension, and a figure",
        published="none on this data set; the gap is that of Chen et al. 2018, arXiv:1802.04942",
        comparable="not beyond the kind of figure: the images are our own",
        findings=(
            "places and size have a dimension each; a rectangle's angle is a circle and takes two, "
            "which the gap counts as none; shade has no dimension of its own under this beta"
        ),
        pictures=("shapes_beta_vae.png",),
    ),
    Row(
        system="Sampling from the aggregate posterior",
        shows=(
            "A mixture of 100 Gaussians fitted to one posterior draw of each training image, after "
            "training, served as `prior.npz`; 10,000 images of each of three sampling seeds, from "
            "it and from N(0, I) (`normal`), beside images of posterior draws of other training "
            "images than those compared with (`posterior`), which is what the aggregate posterior "
            "itself would give. The picture has samples of N(0, I) "
            "to the left, of the mixture to the right."
        ),
        records=WIDE,
        figures=(
            "frechet_mixture",
            "frechet_normal",
            "frechet_posterior",
            "frechet_ratio",
            "sure_mixture",
            "sure_normal",
            "sure_posterior",
        ),
        goal=(
            "at least halves the Fréchet distance against N(0, I), three seeds; a classifier at "
            "least 0.9 sure of at least 90% of the samples"
        ),
        checks=tuple(
            check
            for name in WIDE
            for check in (
                Check(name, "frechet_ratio", most(0.5)),
                Check(name, "sure_mixture", least(0.9)),
            )
        ),
        published="FID 40.7 to 13.1 on MNIST by a Gaussian mixture (source not recorded)",
        comparable=(
            "other features: only the ratio can be compared. A wide latent is what it is for: of "
            "a 4-D one (`mnist-vae`, version 2) N(0, I) gave 2.54, the mixture 1.42 and posterior "
            "draws 1.47, for there the decoder's blur is most of the distance"
        ),
        pictures=("mnist_vae_wide.png",),
    ),
)
