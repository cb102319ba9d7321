"""`python -m runtime`: every command, every output format, errors as one line."""

import argparse
import io
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime import commands
from runtime.__main__ import main
from runtime.artifact.reading import artifacts_root, read_artifact
from runtime.commands._output import decoded_as
from runtime.images import fit, open_image
from runtime.images.encoding import encode_image, encode_npy
from runtime.images.files import count_finished, save_images
from tests.sized import write_sized
from tests.tiny import write_artifact


@pytest.fixture(autouse=True)
def _named(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSERVE_ARTIFACTS", str(artifacts))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_the_module_runs_as_a_program(artifacts: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    command = [sys.executable, "-m", "runtime", "sample", str(artifacts / "tiny-plain")]
    subprocess.run([*command, "-n", "6", "-o", str(out)], check=True, timeout=120)
    assert opened(out).shape == (16, 24, 3)


def test_a_command_is_a_module_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    modules = {p.stem for p in Path(commands.__path__[0]).glob("[!_]*.py")}
    with pytest.raises(SystemExit):
        run("--help")
    listed = capsys.readouterr().out.partition("COMMAND\n")[2]
    assert set(re.findall(r"^    (\w+)", listed, re.MULTILINE)) == modules
    assert {"sample", "encode", "reconstruct", "interpolate", "manifold"} <= modules
    assert {"info", "verify", "tune"} <= modules


def test_sample_equals_the_library(tmp_path: Path, conditional: runtime.Model) -> None:
    out = tmp_path / "a.npz"
    assert run("sample", "tiny-conditional", "-n", 40, "--seed", 7, "--offset", 3, "-o", out) == 0
    with np.load(out) as arrays:
        expected = conditional.sample(40, seed=7, offset=3)
        assert np.abs(arrays["images"].astype(int) - expected).max() <= 1
        assert arrays["seeds"].tolist() == [7] * 40
        assert arrays["numbers"].tolist() == list(range(3, 43))
        labels = runtime.Sample(40, 7, 3).chosen_labels(conditional.manifest)
        assert labels is not None
        assert arrays["labels"].tolist() == labels.tolist()


def test_seeds_labels_and_truncation(tmp_path: Path, conditional: runtime.Model) -> None:
    out = tmp_path / "a.npy"
    options = ["--seeds", "0,4-6", "--labels", "zero,two,one,one", "--truncation", 0.7]
    assert run("sample", "tiny-conditional", *options, "-o", out) == 0
    labels = ["zero", "two", "one", "one"]
    expected = conditional.sample(seeds=[0, 4, 5, 6], labels=labels, truncation=0.7)
    assert np.abs(np.load(out).astype(int) - expected).max() <= 1


def test_every_output_format(tmp_path: Path, plain: runtime.Model) -> None:
    expected = plain.sample(5, seed=1)
    for name in ("a.png", "b.webp", "c.jpg", "d.npy", "e.npz", "f.zip", "folder"):
        options = ["-n", 5, "--seed", 1, "--columns", 5, "-o", tmp_path / name]
        assert run("sample", "tiny-plain", *options) == 0
    for name in ("a.png", "b.webp", "c.jpg"):
        assert opened(tmp_path / name).shape == (8, 40, 3)
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), expected)
    with zipfile.ZipFile(tmp_path / "f.zip") as archive:
        names = archive.namelist()
        third = np.asarray(Image.open(io.BytesIO(archive.read(names[2]))))
    assert names[2] == "seed1_000002.png"
    np.testing.assert_array_equal(third, expected[2])
    files = sorted((tmp_path / "folder").glob("*.png"))
    assert [file.name for file in files] == names
    np.testing.assert_array_equal(np.stack([opened(f) for f in files]), expected)
    assert not list(tmp_path.rglob("*.part"))


def test_pictures_are_enlarged_but_arrays_are_not(tmp_path: Path, plain: runtime.Model) -> None:
    expected = np.repeat(np.repeat(plain.sample(2, seed=1), 3, axis=1), 3, axis=2)
    options = ["-n", 2, "--seed", 1, "--scale", 3, "-o"]
    assert run("sample", "tiny-plain", *options, tmp_path / "folder") == 0
    files = sorted((tmp_path / "folder").glob("*.png"))
    np.testing.assert_array_equal(np.stack([opened(file) for file in files]), expected)
    assert run("sample", "tiny-plain", *options, tmp_path / "a.png") == 0
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), np.hstack(list(expected)))
    assert run("manifold", "tiny-vae", "--steps", 2, "--scale", 2, "-o", tmp_path / "m.png") == 0
    assert opened(tmp_path / "m.png").shape == (32, 32)
    assert run("sample", "tiny-plain", *options, tmp_path / "a.npy") == 2
    assert not (tmp_path / "a.npy").exists()


def test_a_path_as_a_gif(tmp_path: Path) -> None:
    out = tmp_path / "a.gif"
    options = ["--seeds", "1,2", "--steps", 4, "--fps", 10, "--there-and-back", "-o", out]
    assert run("interpolate", "tiny-vae", *options) == 0
    with Image.open(out) as animation:
        assert getattr(animation, "n_frames", 1) == 6
        assert animation.info["duration"] == 100


def test_directions_are_drawn_around_a_start(tmp_path: Path, artifacts: Path) -> None:
    # One engine for both: directions follow from images, which differ by a level between engines.
    engine = ["--backend", "onnxruntime", "--precision", "fp32"]
    options = ["--count", 2, "--steps", 3, "--seed", 5, *engine, "-o"]
    assert run("directions", "tiny-vae", *options, tmp_path / "a.npz") == 0
    with (
        np.load(tmp_path / "a.npz") as arrays,
        runtime.load(artifacts / "tiny-vae", backend="onnxruntime", precision="fp32") as vae,
    ):
        found = vae.directions(2)
        np.testing.assert_allclose(arrays["directions"], found.directions, atol=1e-5)
        images = arrays["images"].astype(int)
        start = vae.latents(1, seed=5)
        assert np.abs(images[[1, 4]] - vae.decode(start)).max() <= 1
        last = vae.decode(start + 3 * found.scaled[1])
        assert np.abs(images[5] - last[0]).max() <= 1
    assert run("directions", "tiny-vae", *options, tmp_path / "a.png") == 0
    assert opened(tmp_path / "a.png").shape == (16, 24)


def test_directions_start_at_an_image_of_their_own_size(tmp_path: Path) -> None:
    write_sized(tmp_path)
    options = ["--count", 1, "--steps", 3, "--seed", 5, "-o", tmp_path / "a.npy"]
    assert run("directions", tmp_path / "tiny-sized", *options) == 0
    assert np.load(tmp_path / "a.npy").shape == (3, 4, 4, 3)  # the smallest, not the default


def test_encode_and_reconstruct(tmp_path: Path, vae: runtime.Model) -> None:
    images = vae.sample(3, seed=1)
    (tmp_path / "in").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in.npy").write_bytes(encode_npy(images))
    for source in (tmp_path / "in", tmp_path / "in.npy"):
        assert run("encode", "tiny-vae", source, "-o", tmp_path / "z.npz", "--force") == 0
        with np.load(tmp_path / "z.npz") as arrays:
            np.testing.assert_allclose(arrays["mean"], vae.encode(images).mean, atol=1e-5)
    options = ["--side-by-side", "--columns", 1, "-o", tmp_path / "pairs.png"]
    assert run("reconstruct", "tiny-vae", tmp_path / "in", *options) == 0
    pairs = opened(tmp_path / "pairs.png")
    np.testing.assert_array_equal(pairs[:8, :8], images[0, ..., 0])
    assert np.abs(pairs[:8, 8:].astype(int) - vae.reconstruct(images)[0, ..., 0]).max() <= 1


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_picture_in_a_folder_is_left_out_and_told(
    tmp_path: Path, vae: runtime.Model, caplog: pytest.LogCaptureFixture, packed: bool
) -> None:
    images = vae.sample(3, seed=1)
    files = {f"{name}.png": encode_image(image) for name, image in zip("ac", images, strict=False)}
    files |= {"more/b.png": encode_image(images[2]), ".DS_Store": b"x", "notes.txt": b"text"}
    files |= {"cut.png": files["a.png"][:60], "__MACOSX/._a.png": b"x"}
    source = tmp_path / ("in.zip" if packed else "in")
    if packed:
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    assert run("encode", "tiny-vae", source, "-o", tmp_path / "z.npz") == 0
    with np.load(tmp_path / "z.npz") as arrays:
        assert arrays["names"].tolist() == ["a", "c", "more/b"]
        np.testing.assert_allclose(arrays["mean"], vae.encode(images).mean, atol=1e-5)
    for name in (".DS_Store", "notes.txt", "cut.png", "__MACOSX"):
        assert f"left out {name}" in caplog.text
    assert f"{source}: 4 of 7 files were left out" in caplog.text


def test_links_in_a_folder_are_followed(tmp_path: Path, vae: runtime.Model) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(encode_image(vae.sample(1, seed=1)[0]))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "link" / "back").symlink_to(tmp_path / "in")
    assert run("encode", "tiny-vae", tmp_path / "in", "-o", tmp_path / "z.npz") == 0
    with np.load(tmp_path / "z.npz") as arrays:
        assert arrays["names"].tolist() == ["link/a"]


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_the_limit_of_pixels_is_an_option(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = tmp_path / "a.png", tmp_path / "z.npz"
    Image.new("L", (30, 20)).save(picture)
    assert run(command, "tiny-vae", picture, "--max-pixels", 600, "-o", out) == 0
    assert run(command, "tiny-vae", picture, "--max-pixels", 599, "-o", out, "--force") == 2
    assert "image: expected at most 599 pixels, found 30 x 20 = 600" in capsys.readouterr().err


def test_a_phones_picture_needs_no_option(tmp_path: Path, vae: runtime.Model) -> None:
    picture = Image.effect_noise((800, 600), 80).resize((8000, 6000))
    picture.save(tmp_path / "a.jpg")
    assert run("encode", "tiny-vae", tmp_path / "a.jpg", "-o", tmp_path / "z.npz") == 0
    fitted = fit(open_image(tmp_path / "a.jpg"), vae.manifest.image())
    with np.load(tmp_path / "z.npz") as arrays:
        np.testing.assert_allclose(arrays["mean"], vae.encode(fitted[None]).mean, atol=1e-5)


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("name", ["run.1/", "run.png/", "run/", "run.1"])
def test_a_name_with_a_slash_is_a_folder(
    tmp_path: Path, name: str, exists: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if exists:
        (tmp_path / name).mkdir()
    options = ["-n", 2, "-o", f"{tmp_path}/{name}"]
    if not exists and not name.endswith("/"):
        assert run("sample", "tiny-plain", *options) == 2
        assert "out: expected one of" in capsys.readouterr().err
        return
    assert run("sample", "tiny-plain", *options) == 0
    assert len(list((tmp_path / name).glob("*.png"))) == 2
    assert run("sample", "tiny-plain", *options, "--continue") == 0


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a.zip", "a"])
def test_what_exists_is_overwritten_by_force_alone(
    tmp_path: Path, name: str, plain: runtime.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    command = ["sample", "tiny-plain", "-n", 4, "-o", out]
    assert run(*command, "--seed", 1) == 0
    before = {path: path.read_bytes() for path in [out, *out.glob("*")] if path.is_file()}
    capsys.readouterr()
    assert run(*command, "--seed", 2) == 2
    error = capsys.readouterr().err
    assert re.search(rf"out: expected a new name, or --force .*, found {out}, which exists", error)
    assert ("--continue" in error) == (name == "a")
    assert all(path.read_bytes() == content for path, content in before.items())
    assert run(*command, "--seed", 2, "--force") == 0
    assert any(
        path.read_bytes() != before.get(path) for path in [out, *out.glob("*")] if path.is_file()
    )


def test_images_of_an_earlier_request_are_not_taken_for_finished(
    tmp_path: Path, plain: runtime.Model
) -> None:
    command = ["sample", "tiny-plain", "-o", tmp_path]
    assert run(*command, "-n", 4) == 0
    assert run(*command, "-n", 2, "--truncation", 0.5, "--force") == 0
    (tmp_path / "seed0_000001.png").unlink()
    assert run(*command, "-n", 2, "--truncation", 0.5, "--continue") == 0
    expected = plain.sample(2, seed=0, truncation=0.5)
    np.testing.assert_array_equal(opened(tmp_path / "seed0_000001.png"), expected[1])
    assert run(*command, "--force", "--continue") == 2


def test_decode_undoes_encode(tmp_path: Path, vae: runtime.Model) -> None:
    images = vae.sample(3, seed=1)
    (tmp_path / "in").mkdir()
    for i, image in enumerate(images):
        (tmp_path / "in" / f"{i}.png").write_bytes(encode_image(image))
    z, folder = tmp_path / "z.npz", tmp_path / "out"
    assert run("encode", "tiny-vae", tmp_path / "in", "-o", z) == 0
    assert run("decode", "tiny-vae", z, "-o", folder) == 0
    found = np.stack([opened(folder / f"{i}.png") for i in range(3)])
    assert np.abs(found.astype(int) - vae.reconstruct(images)[..., 0]).max() <= 1
    np.save(tmp_path / "z.npy", vae.latents(2, seed=4))
    assert run("decode", "tiny-vae", tmp_path / "z.npy", "-o", tmp_path / "d.npy") == 0
    assert np.abs(np.load(tmp_path / "d.npy").astype(int) - vae.sample(2, seed=4)).max() <= 1


SHEET = "latentserve sample {} -n 64 --seed 7 -o sheet.png"


@pytest.mark.parametrize(
    ("arguments", "made", "following"),
    [
        (
            ["sample", "tiny-conditional", "-n", 3, "--seed", 7, "--labels", "two"],
            "3 images, by tiny-conditional@1",
            "latentserve sample tiny-conditional --labels two -n 3 --seed 7 --offset 3 -o more.png",
        ),
        (
            ["sample", "tiny-vae", "--seeds", "4-6"],
            "3 images, by tiny-vae@1",
            "latentserve interpolate tiny-vae --seeds 4,5 -o path.png",
        ),
        (
            ["sample", "tiny-vae", "--truncation", 0.5, "--size", "8x8", "--scale", 2],
            "1 image, by tiny-vae@1",
            "latentserve sample tiny-vae --truncation 0.5 --size 8x8 --scale 2 -n 1 --seed 0 "
            "--offset 1 -o more.png",
        ),
        (["sample", "tiny-plain", "--seeds", "4"], "1 image, by ", SHEET.format("tiny-plain")),
        (
            ["interpolate", "tiny-vae", "--seeds", "1,2", "--steps", 5],
            "5 images, by tiny-vae@1",
            "latentserve sample tiny-vae --seeds 1,2 -o ends.png",
        ),
        (["manifold", "tiny-vae", "--steps", 2], "4 images, by ", SHEET.format("tiny-vae")),
        (
            ["directions", "tiny-conditional", "--count", 2, "--steps", 3],
            "6 images, by ",
            SHEET.format("tiny-conditional"),
        ),
    ],
)
def test_the_last_line_says_what_was_made_and_what_comes_next(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    made: str,
    following: str,
) -> None:
    out = tmp_path / "a.png"
    assert run(*arguments, "-o", out) == 0
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith(f"{out}: {made}")
    assert line.endswith(f"; next: {following}")


def test_the_next_command_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sample", "tiny-vae", "--seeds", "4,5", "-o", "a.png"]
    for made in ("a.png", "path.png", "ends.png"):
        assert run(*command) == 0
        assert Path(made).exists()
        program, *command = shlex.split(capsys.readouterr().err.partition("next: ")[2])
        assert program == "latentserve"


def test_the_command_after_encode_says_what_the_decoder_must_be_told(artifacts: Path) -> None:
    given = argparse.Namespace(labels=None)
    conditional = read_artifact(artifacts / "tiny-conditional").manifest
    assert decoded_as(given, conditional) == ["--labels", "zero"]
    given.labels = ["one", "two"]
    assert decoded_as(given, conditional) == ["--labels", "one,two"]
    assert decoded_as(given, read_artifact(artifacts / "tiny-vae").manifest) == []


def test_what_a_command_of_ours_wrote_beside_its_images_is_no_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("sample", "tiny-vae", "-n", 2, "-o", tmp_path / "made") == 0
    assert run("encode", "tiny-vae", tmp_path / "made", "-o", tmp_path / "z.npz") == 0
    assert not caplog.messages


def test_tune_marks_its_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTSERVE_CACHE", str(tmp_path))
    options = ["--backend", "onnxruntime", "--precision", "fp32", "-n", 20]
    assert run("tune", "tiny-plain", *options) == 0
    told = capsys.readouterr()
    (chosen,) = [line for line in told.out.splitlines() if line.startswith("* ")]
    variant = chosen[2:32].strip()
    made = f"tiny-plain: {variant} (marked *) is chosen whenever it is loaded here"
    assert f"{made} with --backend onnxruntime --precision fp32; next: " in told.err
    with runtime.load("tiny-plain", backend="onnxruntime", precision="fp32") as model:
        assert str(model.variant) == variant


def test_list_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("conditional", "vae"):
        write_artifact(tmp_path, kind)
    write_artifact(tmp_path, "plain", version=12)
    damaged = write_artifact(tmp_path, "plain", name="damaged") / "decode.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    write_sized(tmp_path)
    assert run("list", tmp_path) == 0
    told = capsys.readouterr()
    heads, *rows = [re.split(r"  +", line) for line in told.out.splitlines()]
    assert heads == ["ARTIFACT", "KIND", "IMAGE", "LATENT", "LABELS", "ANSWERS", "LICENCE"]
    table = {row[0]: row[1:] for row in rows}
    kind, image, latent, labels, answers, licence = table["tiny-conditional@1"]
    assert (kind, image, latent, labels, licence) == ("gan", "8x8x3", "6", "3", "MIT")
    assert {"decode", "sample"} <= set(answers.split(","))
    assert table["tiny-plain@12"][2:4] == ["4", "-"]
    assert "encode" in table["tiny-vae@1"][4]
    assert rows[-1][0].startswith("damaged@1 is damaged: ")
    assert "expected SHA-256" in rows[-1][0]
    assert told.err.endswith(
        f"{tmp_path}: 5 artifacts, 1 damaged; next: latentserve serve --artifacts {tmp_path}\n"
    )
    assert run("list", tmp_path / "none") == 2
    assert "folder: expected a folder with artifacts" in capsys.readouterr().err


def test_list_says_what_takes_prompts_and_the_first_words_of_a_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(__file__).parents[3] / "artifacts"
    for name in ("mnist-vae-2d", "shapes-prompted"):
        (tmp_path / name).symlink_to(shipped / name)
    assert run("list", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    _, digits, shapes = [re.split(r"  +", line) for line in lines]
    assert digits[4:] == ["-", digits[5], "MNIST: Yann LeCun, ..."]
    assert shapes[4] == "prompt"
    assert max(map(len, lines)) < 150


def test_an_artifact_may_state_no_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sized(tmp_path, licence="")
    assert run("list", tmp_path) == 0
    assert run("info", tmp_path / "tiny-sized") == 0
    assert "licence  \n" in capsys.readouterr().out


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("recontruct", "tiny-vae")
    assert "no command 'recontruct': did you mean reconstruct?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("xyz")
    assert "no command 'xyz': expected one of decode, directions" in capsys.readouterr().err


def test_a_mistyped_option_shows_the_usage_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("sample", "tiny-vae", "--sed", "4", "-o", "a.png")
    told = capsys.readouterr().err
    assert re.match(r"usage: .* sample ", told)
    assert "sample: error: unrecognized arguments: --sed 4 (did you mean --seed?)" in told
    with pytest.raises(SystemExit, match="2"):
        run("list", "one", "another")
    assert "list: error: unrecognized arguments: another\n" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["0-99999999999", "1,5-99999999999999999999999"])
def test_a_mistyped_range_of_seeds_takes_no_memory(
    seeds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("sample", "tiny-plain", "--seeds", seeds, "-o", "a.png")
    assert "argument --seeds: expected at most 10000000 seeds" in capsys.readouterr().err


def test_a_range_of_seeds_ascends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("sample", "tiny-plain", "--seeds", "0,6-4", "-o", "a.png")
    assert "argument --seeds: expected a range that ascends, found 6-4" in capsys.readouterr().err


def test_names_are_made_safe_and_distinct(tmp_path: Path) -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    out = tmp_path / "out"
    save_images(out, [pixels] * 3, 3, names=["t-shirt/top", "t-shirt/top", "../../up"])
    assert sorted(file.name for file in out.iterdir()) == [
        "_.._up.png",
        "t-shirt_top.png",
        "t-shirt_top_2.png",
    ]


def test_no_image_takes_the_name_of_another(tmp_path: Path) -> None:
    """a.png, a.jpg and a_2.png: the second is a_2, and the third must not write over it."""
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    names = ["a", "a", "a_2", "a"]
    save_images(tmp_path / "out", [pixels], 4, names=names)
    for i, name in enumerate(["a", "a_2", "a_2_2", "a_3"]):
        assert opened(tmp_path / "out" / f"{name}.png")[0, 0] == i
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert count_finished(tmp_path / "out", names) == 4
    save_images(tmp_path / "out.zip", [pixels], 4, names=names)
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        assert len(set(packed.namelist())) == 4


def test_names_as_long_as_a_file_system_takes_them(tmp_path: Path) -> None:
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    save_images(tmp_path / f"{'x' * 251}.png", [pixels], 3)
    assert [len(file.name) for file in tmp_path.iterdir()] == [255]
    names = ["/".join(["folder"] * 50) + "/last", "é" * 125, f"seed0_000001_{'label' * 60}"]
    save_images(tmp_path / "out", [pixels], 3, names=names)
    made = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert made[0].startswith("folder_")
    assert made[0].endswith("_last.png")
    assert made[1].startswith("seed0_000001_label")
    assert made[2].startswith("ééé")


def arrays_of(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


LATENTS = np.zeros((3, 2), np.float32)
WHOLE = arrays_of(latents=np.random.default_rng(0).standard_normal((300, 2)))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.npy", b"", "latents: expected a readable .npy or .npz of numbers, found"),
        ("damaged.npz", WHOLE[:200] + b"\xff" * 200 + WHOLE[400:], "expected a readable .npy or"),
        ("names.npz", arrays_of(latents=LATENTS, names=["a", "b"]), "names: expected one for each"),
        ("name.npz", arrays_of(latents=LATENTS, names="a"), "names: expected one for each of 3"),
        ("pairs.npz", arrays_of(latents=LATENTS, names=[["a", "b"]] * 3), "found [3, 2] in "),
    ],
)
def test_files_of_latents_that_cannot_be_read(
    name: str, data: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run("decode", "tiny-vae", tmp_path / name, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run("sample", "tiny-plain", "-o", tmp_path / "file" / "a.png") == 2
    assert "InputError: out: expected a place that can be written" in capsys.readouterr().err


def test_interpolate_and_manifold(tmp_path: Path) -> None:
    assert (
        run("interpolate", "tiny-vae", "--seeds", "1,2", "--steps", 5, "-o", tmp_path / "i.png")
        == 0
    )
    assert opened(tmp_path / "i.png").shape == (8, 40)
    assert run("manifold", "tiny-vae", "--steps", 4, "-o", tmp_path / "m.png") == 0
    assert opened(tmp_path / "m.png").shape == (32, 32)


def test_info_and_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "tiny-conditional") == 0
    assert "zero, one, two" in capsys.readouterr().out
    assert run("verify", "tiny-vae@1", "--backend", "onnxruntime") == 0
    told = capsys.readouterr().out
    assert "tiny-vae@1 is whole" in told
    assert "golden outputs reproduced by onnxruntime" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "absent", "-o", "a.png"], "ArtifactError: absent: expected an artifact"),
        (["sample", "tiny-plain", "-o", "a.tif"], "InputError: out: expected one of"),
        (["sample", "tiny-plain", "-n", "0", "-o", "a.png"], "InputError: n: expected an integer"),
        (["sample", "tiny-plain", "--seeds", "1", "--seed", "2", "-o", "a.png"], "Error: seeds:"),
        (["sample", "tiny-conditional", "--labels", "x", "-o", "a.png"], "InputError: labels[0]:"),
        (["encode", "tiny-vae", "absent.png", "-o", "z.npz"], "InputError: image: expected an"),
        (["encode", "tiny-vae", "a.png", "-o", "z.png"], "InputError: out: expected a file ending"),
        (["encode", "tiny-vae", "a.png", "-o", "z.npz/"], "InputError: out: expected a file end"),
        (["encode", "tiny-vae", "absent.zip", "-o", "z.npz"], "InputError: absent.zip: expected"),
        (["encode", "tiny-vae", ".", "-o", "z.npz"], "InputError: images: expected at least one"),
        (["encode", "tiny-vae", "x" * 300, "-o", "z.npz"], "image: expected a readable file"),
        (["sample", "tiny-plain", "-o", "x" * 300], "out: expected a place that can be written"),
        (["manifold", "tiny-plain", "-o", "a.png"], "InputError: model: expected one with a 2-D"),
        (["interpolate", "tiny-vae", "--seeds", "1", "-o", "a.png"], "Error: --seeds: expected"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_large_pictures_in_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sized(tmp_path)
    picture, mask = tmp_path / "a.png", tmp_path / "m.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    for file, image in ((picture, pixels), (mask, pixels[..., :1])):
        file.write_bytes(encode_image(image))
    out = tmp_path / "made.npy"
    command = ("translate", folder, picture, "--mask", mask, "--precision", "fp32", "-o", out)
    assert run(*command, "--tile", 16) == 0
    with runtime.load(folder, precision="fp32") as model:
        expected = model.translate(pixels[None], mask=pixels[None, ..., :1], tile=16)
        mean = model.encode(pixels[None], tile=16).mean
    assert np.abs(np.load(out).astype(int) - expected).max() <= 1
    assert run("encode", folder, picture, "--tile", 16, "-o", tmp_path / "e.npz") == 0
    with np.load(tmp_path / "e.npz") as arrays:
        np.testing.assert_allclose(arrays["mean"], mean, atol=1e-4)
    assert run(*command, "--tile", 15, "--force") == 2
    assert "tile: expected a multiple of 2 from 4 to 64, found 15" in capsys.readouterr().err


def test_along_a_path_the_noise_stays_the_same(tmp_path: Path) -> None:
    artifact, latents, out = write_sized(tmp_path), tmp_path / "still.npy", tmp_path / "out.npy"
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        latent = model.latents(seeds=[3])
    np.save(latents, np.concatenate([latent] * 3))
    still = ("decode", artifact, latents)
    made: list[np.ndarray] = []
    for command in (
        ("interpolate", artifact, "--seeds", "3,3", "--steps", 3),
        (*still, "--same-noise"),
        still,
    ):
        assert run(*command, "--seed", 5, "--precision", "fp32", "-o", out, "--force") == 0
        made.append(np.load(out))
    assert (made[0] == made[0][0]).all()
    assert np.array_equal(made[0], made[1])
    assert not (made[2] == made[2][0]).all()


def test_an_empty_folder_of_artifacts_in_the_environment_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As for `latentserve serve`; the current folder would be another one."""
    monkeypatch.setenv("LATENTSERVE_ARTIFACTS", "")
    assert artifacts_root() == Path("artifacts")
