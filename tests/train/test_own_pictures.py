"""Training on one's own folder: sizes, labels, options, precision, what a person is told."""

import json
import logging
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runtime.images import ImageSpec
from tests import pictures
from tests.train.conftest import random_splits, tiny_vae
from train import devices, precision, progress
from train.__main__ import main
from train.data import load
from train.data.room import room_for
from train.devices import cpu_has_bf16
from train.errors import DataError, OptionError
from train.loop import train
from train.options import Options, build
from train.progress import duration, summary
from train.recipes import RECIPES, Recipe
from train.recipes.images import FEW, SIZES, images_gan, images_vae
from train.runs import load_run
from train.sheet import grid, save_sheet
from train.training import Training

TINY = ["--image-size", "32", "--width", "2", "--batch-size", "4", "--device", "cpu"]


def folder_of(path: Path, names: list[str]) -> Path:
    """Noise of a different size in each file."""
    for number, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40 + number, 30), 60 + number).convert("RGB").save(path / name)
    return path


def objective_of(recipe: Recipe) -> Any:
    """An objective whose family the test knows."""
    return recipe.objective


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures", [f"{i}.png" for i in range(6)])


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    names = ["cat/a.png", "cat/b.png", "dog/a.png", "dog/deeper/b.png", "fox/a.png"]
    return folder_of(tmp_path / "pictures", names)


def network_of(recipe: Recipe) -> Any:
    return recipe.objective.network


class TestSizes:
    @pytest.mark.parametrize("size", SIZES)
    def test_networks_grow_with_the_picture(self, size: int) -> None:
        """Down to maps of 4 to 7 pixels, whatever the size."""
        recipe = images_gan(image_size=size, width=2)
        network = network_of(recipe)
        generator, discriminator = network.build()
        assert 4 <= network.start[0] <= 7
        images = generator(torch.randn(2, 128))
        assert images.shape == (2, 3, size, size)
        features = discriminator.judge(images)[1]
        assert features.shape[1] == 2 * 2 ** (network.stages - 1) * network.start[0] ** 2

    @pytest.mark.parametrize("size", [32, 96, 256])
    def test_the_vae_s_do_too(self, size: int) -> None:
        encoder, decoder = network_of(images_vae(image_size=size, width=2)).build()
        images = decoder(torch.randn(2, 128))
        assert images.shape == (2, 3, size, size)
        assert encoder(images)[0].shape == (2, 128)

    def test_no_map_is_wider_than_the_widest(self) -> None:
        network = replace(network_of(images_gan(image_size=256, width=16)), widest=40)
        weights = [p for module in network.build() for p in module.parameters() if p.ndim == 4]
        assert max(max(weight.shape[1:2]) for weight in weights[1:]) == 40

    @pytest.mark.parametrize("make", [images_gan, images_vae])
    @pytest.mark.parametrize("size", [16, 33, 100, 512])
    def test_other_sizes_are_refused_with_a_list(self, make, size: int) -> None:
        with pytest.raises(ValueError, match=rf"one of 32, 40, .*, 256; found {size}"):
            make(image_size=size)

    def test_large_pictures_give_fewer_to_a_sheet(self, tmp_path: Path) -> None:
        assert [grid(size)[0] for size in (8, 64, 128, 256, 512)] == [10, 10, 8, 4, 4]
        assert [grid(64, classes) for classes in (0, 3, 10, 11)] == [
            *((10, 10), (10, 3), (10, 10), (10, 10))
        ]
        sheet = save_sheet(tmp_path / "a.png", np.zeros((16, 256, 256, 3), np.uint8), 4)
        assert sheet.shape == (1024, 1024, 3)
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.size == (1024, 1024)


class TestOptions:
    def test_given_settings_take_the_place_of_the_recipe_s(self) -> None:
        options = Options(
            image_size=128,
            width=24,
            mirror=True,
            steps=7,
            batch_size=12,
            learning_rate=0.01,
            precision="fp32",
            seed=3,
            processes=2,
        )
        recipe = build("images_gan", options)
        assert (recipe.steps, recipe.batch_size, recipe.precision) == (7, 12, "fp32")
        assert (recipe.seed, recipe.shards) == (3, 2)
        assert recipe.image == ImageSpec(height=128, width=128, channels=3)
        objective = objective_of(recipe)
        assert objective.network.generator_width == objective.network.discriminator_width == 24
        assert objective.generator.learning_rate == objective.discriminator.learning_rate == 0.01
        assert objective.augmentation[0] == "flip"
        vae = build("images_vae", Options(learning_rate=0.02))
        assert objective_of(vae).optimizer.learning_rate == 0.02

    def test_rates_keep_their_proportion(self) -> None:
        objective = objective_of(build("cifar10_frogs_dcgan", Options(learning_rate=0.001)))
        assert objective.generator.learning_rate == 0.001
        assert objective.discriminator.learning_rate == pytest.approx(0.002)

    def test_nothing_given_changes_nothing(self) -> None:
        for name in ("mnist_cgan", "images_gan", "mnist_vae"):
            assert build(name, Options()) == RECIPES[name]()

    def test_large_sets_are_not_augmented(self) -> None:
        few, many = images_gan(pictures=FEW), images_gan(pictures=FEW + 1, mirror=True)
        assert objective_of(few).augmentation == ("colour", "shift", "cutout")
        assert objective_of(many).augmentation == ("flip",)

    @pytest.mark.parametrize(
        ("name", "options", "text"),
        [
            ("mnist_vae", Options(image_size=64), "--image-size: .* images_gan or images_vae; f"),
            ("mnist_cgan", Options(conditional=True), "--conditional: .*; found mnist_cgan"),
            ("images_vae", Options(mirror=True), "--mirror: expected a recipe that takes it"),
            ("images_gan", Options(image_size=50), "images_gan: image_size: expected one of 32"),
        ],
    )
    def test_what_a_recipe_does_not_take(self, name: str, options: Options, text: str) -> None:
        with pytest.raises(OptionError, match=text):
            build(name, options)

    def test_a_resumed_run_goes_on_as_it_is(self) -> None:
        own = build("images_gan", Options(image_size=32, width=4, batch_size=8, learning_rate=0.01))
        assert build("images_gan", Options(), own) == own
        assert build("images_gan", Options(steps=5), own) == replace(own, steps=5)


class TestLabels:
    def test_without_conditional_folders_are_walked_and_a_line_says_so(
        self, classes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spec = ImageSpec(height=8, width=8, channels=3)
        with caplog.at_level(logging.INFO):
            data = load("images", classes, spec, labels=False).train
        assert len(data.images) == 5
        assert "images of 3 folders (cat, dog, fox) are taken together" in caplog.text
        assert "--conditional would make the folders labels" in caplog.text

    def test_a_recipe_of_one_class_takes_nothing_together(
        self, classes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (classes / "fox").rename(classes / "frog")
        with caplog.at_level(logging.INFO):
            spec = ImageSpec(height=8, width=8, channels=3)
            data = load("cifar10-frogs", classes, spec, labels=False).train
        assert data.classes == ("frog",)
        assert "together" not in caplog.text

    def test_mixed_folders_are_taken_together_without_labels(
        self, classes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder_of(classes, ["loose.png"])
        (classes / "notes.txt").write_text("of no picture")
        spec = ImageSpec(height=8, width=8, channels=3)
        with caplog.at_level(logging.INFO):
            data = load("images", classes, spec, labels=False).train
        assert data.classes == ("cat", "dog", "fox", "image")
        assert data.labels.tolist() == [0, 0, 1, 1, 2, 3]
        assert "(cat, dog, fox), and 1 images beside them are taken together" in caplog.text
        assert "left out beside the images: notes.txt" in caplog.text
        with pytest.raises(DataError, match=r"found 1 beside them, .*\(without --conditional\)"):
            load("images", classes, spec)

    @pytest.mark.parametrize("recipe", ["images_gan", "images_vae"])
    def test_conditional_trains_by_the_folders(
        self, recipe: str, classes: Path, tmp_path: Path
    ) -> None:
        out = str(tmp_path / "run")
        command = [recipe, "--data", str(classes), "--out", out, *TINY, "--steps", "1"]
        assert main([*command, "--conditional"]) == 0
        run = load_run(out)
        assert run.labels == ("cat", "dog", "fox")
        latents = torch.randn(1, 128).expand(3, -1)
        images = run.decoder(latents, torch.arange(3))
        assert images.shape == (3, 3, 32, 32)
        assert not torch.equal(images[0], images[1])
        assert main([*command, "--conditional", "--resume", "--steps", "2"]) == 0
        resumed = [recipe, "--data", str(classes), "--out", out, "--device", "cpu"]
        assert main([*resumed, "--resume", "--steps", "3"]) == 0
        assert load_run(out).provenance["steps"] == 3

    def test_conditional_needs_folders(
        self, loose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = str(tmp_path / "run")
        arguments = ["images_gan", "--data", str(loose), "--out", out, *TINY, "--conditional"]
        assert main(arguments) == 1
        assert "at least two folders, which are the classes; found one" in capsys.readouterr().err


class TestPictures:
    def test_turned_transparent_and_of_other_colours_as_served(self, tmp_path: Path) -> None:
        picture = Image.new("RGB", (60, 40), (0, 255, 0))
        picture.paste((255, 0, 0), (0, 0, 30, 40))  # left half
        exif = picture.getexif()
        exif[0x0112] = 6  # turned to the right: the left half comes on top
        profile = pictures.rgb_profile(pictures.ADOBE_RGB, 2.2)
        data = pictures.file_of(picture, "PNG", exif=exif, icc_profile=profile)
        (tmp_path / "a.png").write_bytes(data)
        clear = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
        clear.save(tmp_path / "b.png")
        images = load("images", tmp_path, images_gan(image_size=32).image).train.images
        expected = pictures.in_srgb(np.array([[255, 0, 0]], np.uint8), pictures.ADOBE_RGB, 2.2)
        assert np.abs(images[0, 4, 4].astype(float) - expected[0]).max() <= 2
        assert images[0, 4, 28].tolist() == images[0, 4, 4].tolist()
        assert images[0, 28, 4, 1] > 200
        assert images[1].max() == 0  # laid over black

    def test_more_pictures_than_memory_lie_in_a_mapped_file(self, tmp_path: Path) -> None:
        mapped = room_for((3, 4, 4, 1), limit=47)
        mapped[...] = 7
        assert isinstance(mapped, np.memmap)
        assert mapped.sum() == 7 * 48
        assert not isinstance(room_for((3, 4, 4, 1), limit=48), np.memmap)

    def test_a_mapped_set_trains_as_one_in_memory(
        self, loose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = replace(images_gan(image_size=32, width=2), steps=1, batch_size=4)
        whole = load("images", loose, recipe.image)
        monkeypatch.setattr("train.data.room._SHARE", 0.0)
        mapped = load("images", loose, recipe.image)
        assert isinstance(mapped.train.images, np.memmap)
        assert mapped.train.checksum == whole.train.checksum
        train(recipe, mapped, tmp_path / "run", device="cpu")
        assert load_run(tmp_path / "run").provenance["steps"] == 1


class TestPrecision:
    @pytest.mark.parametrize(
        ("flags", "found"),
        [
            ("fpu avx2 avx512f avx512_bf16", True),
            ("fpu amx_bf16 amx_tile", True),
            ("fp asimd bf16", True),
            ("fpu avx2 avx512f avx512_vnni", False),
            ("", False),
        ],
    )
    def test_by_the_processor_s_flags(self, flags: str, found: bool) -> None:
        assert cpu_has_bf16(flags.split()) == found

    @pytest.mark.parametrize(
        ("flags", "seconds", "expected"),
        [
            ("avx2", {}, "fp32"),
            ("avx2 avx512_bf16", {"fp32": 2.0, "bf16": 1.0}, "bf16"),
            ("avx2 avx512_bf16", {"fp32": 1.0, "bf16": 2.0}, "fp32"),
        ],
    )
    def test_the_faster_is_taken(
        self,
        flags: str,
        seconds: dict[str, float],
        expected: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(devices, "cpu_flags", lambda: flags)
        parts: set[int] = set()

        def timed(made: Recipe, *_: object) -> float:
            parts.add(made.shards)
            return seconds[made.precision]

        monkeypatch.setattr(precision, "_seconds", timed)
        recipe = replace(images_gan(image_size=32, width=2), shards=2)
        data, cpu = random_splits(recipe.image), torch.device("cpu")
        with caplog.at_level(logging.INFO):
            assert precision.faster(recipe, data, cpu) == replace(recipe, precision=expected)
        assert f"precision: {expected}, " in caplog.text
        assert ("has no bf16" in caplog.text) == (not seconds)
        # The batch in one part might not fit into the device's memory.
        assert parts == ({2} if seconds else set())
        plain = replace(recipe, precision="fp32")
        assert precision.faster(plain, data, cpu) == plain

    def test_each_network_has_its_turn_in_the_timed_steps(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(devices, "cpu_flags", lambda: "avx2 avx512_bf16")
        timed: set[str] = set()
        advance = Training.advance

        def noted(training: Training) -> dict[str, float]:
            report = advance(training)
            timed.update(name.partition("/")[0] for name in report)
            return report

        monkeypatch.setattr(Training, "advance", noted)
        made = images_gan(image_size=32, width=2)
        recipe = replace(made, objective=replace(made.objective, critic_steps=5), batch_size=4)
        precision.faster(recipe, random_splits(recipe.image), torch.device("cpu"))
        assert timed == {"generator", "discriminator"}

    @pytest.mark.parametrize("flags", ["avx2", "avx2 avx512_bf16"])
    def test_the_command_chooses_and_a_resumed_run_keeps_it(
        self,
        flags: str,
        loose: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(devices, "cpu_flags", lambda: flags)
        out = tmp_path / "run"
        arguments = ["images_gan", "--data", str(loose), "--out", str(out), *TINY]
        with caplog.at_level(logging.INFO):
            assert main([*arguments, "--steps", "1"]) == 0
        chosen = load_run(out).recipe.precision
        assert f"precision: {chosen}, " in caplog.text
        assert ("s in bf16 (timed now)" in caplog.text) == ("bf16" in flags)
        caplog.clear()
        assert main([*arguments, "--steps", "2", "--resume"]) == 0
        assert load_run(out).recipe.precision == chosen
        assert "faster here" not in caplog.text

    def test_bf16_asked_for_without_it_is_measured_and_warned_of(
        self,
        loose: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(devices, "cpu_flags", lambda: "avx2")
        out = tmp_path / "run"
        arguments = ["images_gan", "--data", str(loose), "--out", str(out), *TINY, "--steps", "1"]
        assert main([*arguments, "--precision", "bf16"]) == 0
        assert load_run(out).recipe.precision == "bf16"
        assert "this device has no bf16: a step takes " in caplog.text
        assert " times as long as in fp32" in caplog.text


class TestProgress:
    def test_first_losses_and_pictures_come_after_ten_steps(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        recipe = replace(tiny_vae(), steps=12, sample_every=100)
        with caplog.at_level(logging.INFO):
            train(recipe, random_splits(recipe.image), tmp_path, device="cpu")
        names = [path.name for path in sorted((tmp_path / "samples").iterdir())]
        assert names == ["00000010.png", "00000012.png"]
        first, last = (r.message for r in caplog.records if r.name == "train.progress")
        assert first.startswith("step 10 of 12: elbo/loss ")
        assert "images/s" in first
        assert str(tmp_path / "samples" / "00000010.png") in first
        assert last.startswith("step 12 of 12: ")
        board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        shown = board.Images("samples")
        assert [(event.step, event.width) for event in shown] == [(10, 80), (12, 80)]

    def test_slow_steps_are_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "_FIRST_SECONDS", 0.0)
        recipe = replace(tiny_vae(), steps=3, sample_every=100)
        train(recipe, random_splits(recipe.image), tmp_path, device="cpu")
        names = [path.name for path in sorted((tmp_path / "samples").iterdir())]
        assert names == ["00000001.png", "00000003.png"]

    def test_the_end_says_what_was_made_and_what_comes_next(
        self, loose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "my cats"
        arguments = ["images_vae", "--data", str(loose), "--out", str(out), *TINY, "--steps", "1"]
        assert main(arguments) == 0
        made, following = capsys.readouterr().out.splitlines()
        assert made.startswith(f"{out}: images_vae, 1 steps of 4 images in ")
        command, serve = following.removeprefix("next: ").split(" && ")
        assert shlex.split(command) == [
            *("latentserve", "export", "run", str(out)),
            *("--name", "my-cats", "--out", "mine"),
        ]
        assert serve == "latentserve serve --artifacts mine"

    def test_a_shipped_recipe_keeps_its_name(self, tmp_path: Path) -> None:
        train(tiny_vae(), random_splits(tiny_vae().image), tmp_path, device="cpu")
        told = summary(tmp_path, {"test_loss": 1.23456})
        assert told.startswith("test_loss 1.235\n")
        assert "--name" not in told
        record = json.loads((tmp_path / "run.json").read_text())
        assert f"{record['provenance']['steps']} steps of 10 images" in told

    def test_durations(self) -> None:
        assert [duration(s) for s in (0.4, 59, 61, 3599.6, 7325)] == [
            *("0 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 2 min")
        ]
