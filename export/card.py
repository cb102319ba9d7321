"""The model card: what the artifact is, where it comes from, how exact it is, how to use it."""

import json
from collections.abc import Iterable, Mapping

import numpy as np

from runtime.artifact.golden import (
    FLOAT_TOLERANCE,
    MAX_LEVELS,
    REDUCED_MAX_LEVELS,
    REDUCED_MEAN_LEVELS,
)
from runtime.artifact.manifest import Manifest, Parity, Provenance
from runtime.images import contact_sheet
from runtime.images.encoding import encode_image
from runtime.model import Model

CARD = "README.md"
SHEET = "samples.png"
NEIGHBOURS = "neighbours.png"

_SHEET_SEED = 0
_SHEET_PIXELS = 640
_MAX_COLUMNS = 10

_CARD = """# {name}, version {version}

![Samples of seed {seed}]({sheet})

{facts}

## Sample with it

```bash
{command}
```

```python
{python}
```

```bash
{curl}
```

Names are looked up in the folder `$LATENTSERVE_ARTIFACTS`, `artifacts/` unless set.

## Where it comes from

{origin}

{figures}{neighbours}## How exact it is

The fp32 graphs against the torch modules they come from, on seeded latents, run by ONNX Runtime
on a CPU. Allowed are {levels} grey level for images and {tolerance:g} for an encoder's outputs.
{reduced}
{parity}
{left_out}"""

_REDUCED = """
In reduced precision, the decoder against its fp32 graph on {images} latents, with arithmetic
emulated on a CPU; allowed are {mean:g} grey levels on average and {largest:g} at most.
"""

_NEIGHBOURS = f"""## Nearest training images

![Samples above, below each its nearest training images]({NEIGHBOURS})

Top row: samples. Below each: the nearest training image in pixels, then in the classifier's
features.

"""


def sample_sheet(model: Model) -> bytes:
    """Images 0.. of seed 0 as one PNG, in about a square; with few classes, one column each."""
    image = model.manifest.image
    columns = min(_MAX_COLUMNS, max(2, _SHEET_PIXELS // image.width))
    rows = min(_MAX_COLUMNS, max(2, _SHEET_PIXELS // image.height))
    classes = len(model.manifest.labels or ())
    labels = None
    if 0 < classes <= columns:
        columns = classes
        labels = np.tile(np.arange(classes), rows)
    images = model.sample(rows * columns, seed=_SHEET_SEED, labels=labels)
    return encode_image(contact_sheet(images, columns))


def model_card(manifest: Manifest, *, neighbours: bool = False) -> str:
    """The card as Markdown, from the manifest; `neighbours`: whether that sheet lies beside it."""
    provenance = manifest.provenance
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        seed=_SHEET_SEED,
        sheet=SHEET,
        facts=_table(("property", "value"), _facts(manifest)),
        origin=_origin(provenance),
        figures=_figures(provenance.figures),
        neighbours=_NEIGHBOURS if neighbours else "",
        levels=MAX_LEVELS,
        tolerance=FLOAT_TOLERANCE,
        reduced=_reduced(manifest),
        parity=_parity(manifest.parity),
        left_out=_left_out(manifest),
        **_usage(manifest),
    )


def _facts(manifest: Manifest) -> Iterable[tuple[str, str]]:
    image, labels = manifest.image, manifest.labels
    pixels = "grey" if image.channels == 1 else "RGB"
    yield "kind", manifest.kind
    yield "images", f"{image.height} x {image.width} (height x width), {pixels}"
    yield "latents", f"{list(manifest.latent.shape)}, {manifest.latent.prior.replace('_', ' ')}"
    yield "classes", ", ".join(labels) if labels else "none"
    noise = ", takes noise: latents and their log density" if manifest.encoder_takes_noise else ""
    yield "encoder", f"yes{noise}" if manifest.encode else "no"
    yield "licence", manifest.licence


def _usage(manifest: Manifest) -> dict[str, str]:
    name, label = manifest.name, manifest.labels[0] if manifest.labels else None
    body = {"model": name, "n": 64, "seed": 7} | ({"labels": [label]} if label else {})
    argument = f", labels={json.dumps(label)}" if label else ""
    shape = [64, *manifest.image.shape]
    return {
        "command": f"python -m runtime sample {name} -n 64 --seed 7 --out sheet.png",
        "python": "import runtime\n\n"
        f"with runtime.load({json.dumps(name)}) as model:\n"
        f"    images = model.sample(64, seed=7{argument})  # uint8 {shape}",
        "curl": "curl -X POST localhost:3000/sample -H 'content-type: application/json' \\\n"
        f"  -d '{json.dumps(body)}' -o sheet.png",
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
            "grey levels" if row.graph == "decode" else "as the outputs",
            f"{row.max_difference:.3g}",
            f"{row.mean_difference:.3g}",
            "" if row.images_std is None else f"{row.images_std:.1f}",
        )
        for row in parity
    )
    return _table(header, rows)


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
