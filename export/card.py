"""The model card: what the artifact is, where it comes from, how exact it is, how to use it."""

import json
from collections.abc import Iterable, Mapping

import numpy as np

from export.budget import affordable, affordable_bytes
from runtime.artifact.golden import (
    FLOAT_TOLERANCE,
    MAX_LEVELS,
    REDUCED_MAX_LEVELS,
    REDUCED_MEAN_LEVELS,
)
from runtime.artifact.manifest import SHEET, Manifest, Parity, Provenance, Tiling
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import TensorSpec
from runtime.engines.backend import Backend
from runtime.images import contact_sheet
from runtime.images.encoding import encode_image
from runtime.images.volumes import as_pictures
from runtime.requests import answered, answers
from runtime.requests.encode import takes_noise
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

CARD = "README.md"
NEIGHBOURS = "neighbours.png"

_SHEET_SEED = 0
_SHEET_PIXELS = 640
_MAX_COLUMNS = 10

_CARD = """# {name}, version {version}

![{shown}]({sheet})

{facts}

## Use it

{mark}```bash
{command}
```

{mark}```python
{python}
```

{mark}```bash
{curl}
```

Names are looked up in the folder `$LATENTSERVE_ARTIFACTS`, `artifacts/` unless set.

## Where it comes from

{origin}

{figures}{neighbours}## How exact it is

The fp32 graphs on seeded inputs, run by ONNX Runtime on a CPU. Compared with: {references}.
Allowed are {levels} grey level for images and {tolerance:g} for an encoder's outputs.
{reduced}
{parity}
{left_out}"""

_REDUCED = """
In reduced precision, the main graph against fp32 on {images} inputs, with arithmetic
emulated on a CPU; allowed are {mean:g} grey levels on average and {largest:g} at most.
"""

_NEIGHBOURS = f"""## Nearest training images

![Samples above, below each its nearest training images]({NEIGHBOURS})

Top row: samples. Below each: the nearest training image in pixels, then in the classifier's
features.

"""


def sample_sheet(artifact: Artifact, backend: Backend) -> bytes | None:
    """The main graph's images of seeded inputs (images 0.. of seed 0, where it samples), as one PNG
    in about a square; with few classes, one column each. None where it gives no images."""
    manifest = artifact.manifest
    main, image = manifest.main_graph, manifest.image()
    spec = manifest.graphs[main]
    if not spec.gives_pixels:
        return None
    columns = min(_MAX_COLUMNS, max(2, _SHEET_PIXELS // image.width))
    rows = min(_MAX_COLUMNS, max(2, _SHEET_PIXELS // image.height))
    classes = len(manifest.labels or ())
    labels = spec.input("labels")
    if labels is not None and 0 < classes <= columns:
        columns = classes
    count = affordable(artifact.bounds[main], rows * columns, manifest.default_size)
    inputs = examples_of(artifact, Counter(_SHEET_SEED, 0, count))
    if labels is not None and 0 < classes <= columns:
        inputs[labels.name] = np.arange(count, dtype=np.int64) % classes
    fitting = artifact.bounds[main].rows(affordable_bytes(), manifest.default_size)
    step = max(1, min(manifest.max_batch, fitting))
    parts = [
        backend.run(main, {name: a[i : i + step] for name, a in inputs.items()})
        for i in range(0, count, step)
    ]
    images = np.concatenate([part[spec.outputs[0].name] for part in parts])
    return encode_image(contact_sheet(as_pictures(images), min(columns, count)))


def model_card(manifest: Manifest, *, neighbours: bool = False) -> str:
    """The card as Markdown, from the manifest; `neighbours`: whether that sheet lies beside it."""
    provenance = manifest.provenance
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        shown=f"Samples of seed {_SHEET_SEED}" if manifest.prior != "none" else "What it makes",
        sheet=SHEET,
        facts=_table(("property", "value"), _facts(manifest)),
        origin=_origin(provenance),
        figures=_figures(provenance.figures),
        neighbours=_NEIGHBOURS if neighbours else "",
        references=_references(manifest.parity),
        levels=MAX_LEVELS,
        tolerance=FLOAT_TOLERANCE,
        reduced=_reduced(manifest),
        parity=_parity(manifest.parity),
        left_out=_left_out(manifest),
        **_usage(manifest),
    )


def _facts(manifest: Manifest) -> Iterable[tuple[str, str]]:
    image, labels = manifest.image(), manifest.labels
    pixels = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[image.channels]
    yield "kind", manifest.kind
    what = "pictures of volumes" if "volume" in (t.role for t in _made(manifest)) else "images"
    yield what, f"{image.height} x {image.width} (height x width), {pixels}"
    for name, axis in manifest.axes.items():
        yield name, f"{axis}; {axis.default} unless a request chooses"
    if manifest.latent is not None:
        yield "latents", f"{list(manifest.latent.shape)}, {manifest.prior.replace('_', ' ')}"
    yield "classes", ", ".join(labels) if labels else "none"
    if (words := manifest.vocabulary) is not None:
        yield "prompts", f"up to {words.length} words of: {', '.join(words.words)}"
        yield "an example", words.examples[0]
    yield "requests", ", ".join(answered(manifest))
    for name, spec in manifest.graphs.items():
        yield name, f"{_tensors(spec.inputs)} -> {_tensors(spec.outputs)}"
    for name, spec in manifest.graphs.items():
        if spec.tiling is not None:
            yield f"{name} in tiles", _tiles(spec.tiling, spec.gives_pixels)
    if takes_noise(manifest):
        yield "encoder", "takes noise: latents and their log density"
    yield "licence", manifest.licence


def _made(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """What the main graph gives."""
    return manifest.graphs[manifest.main_graph].outputs


def _tiles(tiling: Tiling, pixels: bool) -> str:
    halo = tiling.halo
    text = "approximate: the network looks at the whole image"
    if tiling.exact:
        text = f"exact from an edge of {4 * halo} on (it looks {halo} pixels around)"
    if tiling.max_difference is None:
        return f"{text}; not compared with a whole image"
    unit = " grey levels" if pixels else ""
    return (
        f"{text}; with tiles of {tiling.tile} the largest difference from the whole image was "
        f"{tiling.max_difference:.3g}{unit}, the mean {tiling.mean_difference or 0:.3g}"
    )


def _tensors(tensors: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {['n', *t.shape]}" for t in tensors)


_OF_FILES = "<!-- not run: needs your files -->\n"
"""For the tests of the documentation; it is not shown."""


def _usage(manifest: Manifest) -> dict[str, str]:
    name, label = manifest.name, manifest.labels[0] if manifest.labels else None
    loaded = f"import runtime\n\nwith runtime.load({json.dumps(name)}) as model:\n"
    post = "curl -X POST localhost:3000/"
    if answers(manifest, "sample"):
        asked: dict[str, str] = {"labels": label} if label else {}
        if (words := manifest.vocabulary) is not None:
            asked = {"prompt": words.examples[0]}
        body = {"model": name, "n": 64, "seed": 7} | asked
        argument = "".join(f", {name}={json.dumps(value)}" for name, value in asked.items())
        option = "".join(f' --{name} "{value}"' for name, value in asked.items())
        shape = [64, *_made(manifest)[0].shape]
        return {
            "mark": "",
            "command": f"python -m runtime sample {name} -n 64 --seed 7{option} --out sheet.png",
            "python": f"{loaded}    images = model.sample(64, seed=7{argument})  # uint8 {shape}",
            "curl": f"{post}sample -H 'content-type: application/json' \\\n"
            f"  -d '{json.dumps(body)}' -o sheet.png",
        }
    if manifest.latent is not None and answers(manifest, "decode"):
        return {
            "mark": _OF_FILES,
            "command": f"python -m runtime info {name}",
            "python": f"{loaded}    images = model.decode(latents)  "
            f"# {_tensors([manifest.latent])}",
            "curl": f"{post}decode?model={name} -H 'content-type: application/x-npy' \\\n"
            "  --data-binary @latents.npy -o sheet.png",
        }
    request = "translate" if answers(manifest, "translate") else "encode"
    out = "made.png" if request == "translate" else "latents.npz"
    return {
        "mark": _OF_FILES,
        "command": f"python -m runtime {request} {name} picture.png --out {out}",
        "python": f"{loaded}    made = model.{request}(images)",
        "curl": f"{post}{request} -F model={name} -F files=@picture.png -o {out}",
    }


def _origin(provenance: Provenance) -> str:
    """Plain values as a table, nested settings as JSON below it."""
    nested = {key: value for key, value in provenance.details.items() if isinstance(value, dict)}
    plain = {"source": provenance.source, **provenance.details}
    rows = [(key.replace("_", " "), str(v)) for key, v in plain.items() if key not in nested]
    versions = [(f"{library} version", v) for library, v in provenance.versions.items()]
    blocks = (
        f"{key.replace('_', ' ').capitalize()}:\n\n```json\n{json.dumps(value, indent=2)}\n```"
        for key, value in nested.items()
    )
    return "\n\n".join((_table(("record", "value"), [*rows, *versions]), *blocks))


def _figures(figures: Mapping[str, float]) -> str:
    if not figures:
        return ""
    rows = ((name, f"{value:.6g}") for name, value in figures.items())
    return f"## Figures\n\n{_table(('measure', 'value'), rows)}\n\n"


def _parity(parity: Iterable[Parity]) -> str:
    header = (
        "graph",
        "precision",
        "batches",
        "unit",
        "largest difference",
        "mean difference",
        "images' standard deviation",
    )
    rows = (
        (
            row.graph,
            row.precision,
            ", ".join(map(str, row.batches)),
            "as the outputs" if row.images_std is None and row.images is None else "grey levels",
            f"{row.max_difference:.3g}",
            f"{row.mean_difference:.3g}",
            "" if row.images_std is None else f"{row.images_std:.1f}",
        )
        for row in parity
    )
    return _table(header, rows)


def _references(parity: Iterable[Parity]) -> str:
    found = dict.fromkeys(row.reference for row in parity if row.precision == "fp32")
    return ", ".join(found) or "nothing"


def _reduced(manifest: Manifest) -> str:
    images = [row.images for row in manifest.parity if row.images is not None]
    if not images:
        return ""
    return _REDUCED.format(images=images[0], mean=REDUCED_MEAN_LEVELS, largest=REDUCED_MAX_LEVELS)


def _left_out(manifest: Manifest) -> str:
    if not manifest.left_out:
        return ""
    return f"\nLeft out:\n\n{_table(('precision', 'because'), manifest.left_out.items())}\n"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
