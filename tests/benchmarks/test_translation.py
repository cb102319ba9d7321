"""The benchmarks of translators, on answers that are known."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

import runtime
from benchmarks.quality import pairs, style, translation
from benchmarks.quality.judge import load_classifier
from export import export_run
from tests.train.conftest import narrow, random_splits
from train.data import Dataset, Splits
from train.data.domains import load_turned, turned
from train.data.source import Options
from train.loop import train
from train.objectives import Translation
from train.recipes import RECIPE_JSON, RECIPES

CLASSES = load_classifier("cifar10").classes


def dataset(seed: int, each: int = 2) -> Dataset:
    count = each * len(CLASSES)
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    # Smooth ones, which a bicubic enlargement can do something with.
    images = images.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    return Dataset(f"part {seed}", images, np.arange(count) % 10, CLASSES, "generated")


TRAIN, TEST = dataset(0), dataset(1)


def asked(name: str, back: bool = False) -> list[pairs.Case]:
    recipe = RECIPE_JSON.dump_python(RECIPES[name](), mode="json")
    return pairs.cases(recipe, TRAIN, TEST, n=12, seed=3, back=back)


def test_grey_and_small_pictures_have_simple_answers() -> None:
    (colour,) = asked("cifar10_pix2pix")
    assert colour.given.shape == (12, 32, 32, 1)
    assert np.array_equal(colour.simple["grey"][..., 1:2], colour.given)
    (enlarge,) = asked("cifar10_srgan")
    assert enlarge.given.shape == (12, 8, 8, 3)
    assert enlarge.wanted is not None
    assert np.array_equal(enlarge.given, enlarge.wanted[:, ::4, ::4])
    assert enlarge.simple["bicubic"].shape == enlarge.wanted.shape


def test_holes_are_black_and_filled_with_the_mean_of_the_rest() -> None:
    centre, free = asked("cifar10_inpainting")
    assert centre.mask is not None
    assert free.mask is not None
    assert set(np.unique(free.mask)) == {0, 255}
    assert (centre.mask == 255).mean() == 0.25
    hole = np.broadcast_to(centre.mask == 255, centre.given.shape)
    assert not centre.given[hole].any()
    assert centre.wanted is not None
    assert np.array_equal(centre.given[~hole], centre.wanted[~hole])
    known = centre.wanted[0][~hole[0]].reshape(-1, 3).mean(axis=0)
    assert np.abs(centre.simple["mean"][0, 16, 16] - known).max() <= 0.5
    again = asked("cifar10_inpainting")[1].mask
    assert again is not None
    assert np.array_equal(again, free.mask)


def test_the_true_answer_of_the_unpaired_task_is_known_both_ways() -> None:
    (there,), (back,) = asked("cifar10_cyclegan"), asked("cifar10_cyclegan", back=True)
    assert there.wanted is not None
    assert np.array_equal(there.wanted, turned(there.given))
    assert np.array_equal(back.given, there.wanted)
    assert back.wanted is not None
    assert np.array_equal(back.wanted, there.given)
    assert np.array_equal(there.real, turned(back.real))
    (deer,), (horses,) = (asked("cifar10_cyclegan_horses", back) for back in (False, True))
    assert (deer.asked, horses.asked) == ("deer", "horse")
    assert deer.wanted is None
    horse = TEST.images[TEST.labels == CLASSES.index("horse")]
    assert sorted(i.tobytes() for i in deer.given) == sorted(i.tobytes() for i in horse)


def test_figures_of_perfect_and_of_useless_answers() -> None:
    (case,) = asked("cifar10_cyclegan")
    assert case.wanted is not None
    perfect = translation.compare(case, case.wanted, case.wanted)
    useless = translation.compare(case, case.given, case.wanted)
    assert (perfect["l1"], perfect["right"]) == (0, 1)
    assert perfect["ssim"] == pytest.approx(1)
    assert useless["right"] == 0
    assert useless["psnr"] < perfect["psnr"]
    centre, _ = asked("cifar10_inpainting")
    assert centre.wanted is not None
    assert centre.mask is not None
    off = centre.wanted ^ (centre.mask > 0)
    found = translation.compare(centre, off.astype(np.uint8), centre.wanted)
    # One grey level in a quarter of the picture, and everywhere in the hole.
    assert found["l1_hole"] == 1
    assert found["l1"] == 0.25


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of CIFAR-10's folder."""
    folder = tmp_path_factory.mktemp("cifar10")
    for part, images in (("train", TRAIN), ("test", TEST)):
        for number, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
            path = folder / part / CLASSES[label] / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


def trained(name: str, out: Path) -> Path:
    train(narrow(RECIPES[name]()), Splits(TRAIN), out, device="cpu")
    return out


def test_a_run_is_judged_as_it_is_served(data: Path, tmp_path: Path) -> None:
    run = trained("cifar10_inpainting_l1", tmp_path / "run")
    out, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    options = ["--data", str(data), "--n", "12", "--out", str(out), "--json", str(figures)]
    translation.main([str(run), *options])
    found = json.loads(figures.read_text())["figures"]
    for mask in ("centre", "free"):
        assert found[f"psnr_over_{mask}_mean"] == pytest.approx(
            found[f"psnr_{mask}"] - found[f"psnr_{mask}_mean"]
        )
        assert found[f"frechet_{mask}"] > 0
        assert found[f"l1_hole_{mask}"] > found[f"l1_{mask}"] > 0
    # Both masks: given, made, wanted and the mean, 12 columns, twice as large.
    with Image.open(out) as sheet:
        assert sheet.size == (12 * 32 * 2, 8 * 32 * 2)
    with pytest.raises(ValueError, match="expected a run of style transfer, found translation"):
        style.measure(run, TEST.images, TEST.images, 1)


def test_only_our_own_translators_are_judged(data: Path) -> None:
    artifact = Path(__file__).parents[2] / "artifacts" / "mnist-vae-2d"
    with (
        runtime.load(artifact, backend="onnxruntime") as model,
        pytest.raises(ValueError, match="expected a translator that `python -m train` made"),
    ):
        translation.recipe_of(model)


def test_the_direction_of_a_cyclegan_is_what_its_export_states(data: Path, tmp_path: Path) -> None:
    """Its name is free, and a checkpoint has both: which is served is chosen at the export."""
    recipe, run = narrow(RECIPES["cifar10_cyclegan"]()), tmp_path / "run"
    train(recipe, random_splits(recipe.image, 2), run, device="cpu")
    made: dict[str, Path] = {}
    for name, back in {"there-and-back": False, "negatives": True}.items():
        made[name] = export_run(run, out=tmp_path, name=name, back=back, precisions=())
        with runtime.load(made[name], backend="onnxruntime") as model:
            assert translation.is_back(model) == back
            silent = model.manifest.model_copy(deep=True)
            del silent.provenance.details["direction"]
            with pytest.raises(ValueError, match="direction: expected there or back, found None"):
                translation.is_back(cast(runtime.Model, SimpleNamespace(manifest=silent)))
    options = ["--data", str(data), "--n", "12", "--json", str(tmp_path / "figures.json")]
    figures: list[dict[str, float]] = []
    for subject in ([str(made["negatives"])], [str(run), "--back"]):
        translation.main([*subject, *options])
        figures.append(json.loads((tmp_path / "figures.json").read_text())["figures"])
    assert figures[0] == figures[1]
    with pytest.raises(SystemExit):
        translation.main([str(made["there-and-back"]), "--back", *options])


def test_styles_are_compared_with_an_optimisation_of_the_same(tmp_path: Path) -> None:
    run = trained("cifar10_style_mosaic", tmp_path / "run")
    pictures = TEST.images[:3]
    found, sheet = style.measure(run, pictures, pictures, 12)
    assert sheet.shape == (3 * 32, 3 * 32, 3)
    assert found["content_unchanged"] == pytest.approx(0, abs=1e-9)
    assert found["total_gatys"] < found["total_unchanged"]
    weights = RECIPES["cifar10_style_mosaic"]().objective
    assert isinstance(weights, Translation)
    weighted = weights.content * found["content"] + weights.style * found["style"]
    assert found["total"] == pytest.approx(weighted, rel=1e-5)
    # A network that changes nothing is as good as no step; one that is never reached, as all.
    assert (found["total"], found["gatys_steps_to_equal"]) == (found["total_unchanged"], 0)
    levels = sheet[2 * 32 :].reshape(32, 3, 32, 3).swapaxes(0, 1)
    assert style.measure(run, levels, pictures, 10)[0]["gatys_steps_to_equal"] == 10


def test_halves_of_the_unpaired_task_are_disjoint(data: Path) -> None:
    recipe = RECIPES["cifar10_cyclegan"]()
    loaded = load_turned(data, recipe.image, Options()).train
    assert loaded.classes == ("as it is", "colours turned")
    assert np.bincount(loaded.labels).tolist() == [10, 10]
    plain = {image.tobytes() for image in loaded.images[loaded.labels == 0]}
    changed = {image.tobytes() for image in loaded.images[loaded.labels == 1]}
    known = {image.tobytes(): turned(image).tobytes() for image in TRAIN.images}
    assert plain < known.keys()
    assert changed == {known[image] for image in known.keys() - plain}


def test_the_same_masks_whatever_was_drawn_before() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    asked("cifar10_inpainting")
    assert torch.equal(before, torch.random.get_rng_state())
