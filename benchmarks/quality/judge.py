"""The frozen classifiers that judge samples.

`probabilities` say what a picture shows, `features` are the space of the Fréchet distance. A judge
is independent of every generator, takes what artifacts give, and needs only onnxruntime: no torch
and no data set. `benchmarks.quality.classifier` trains them.

Like every classifier it knows only its classes: noise too can be an 8 with confidence 1. Shares of
confident verdicts speak of legible samples only together with coverage, and with a look at them.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import UnfitError

if TYPE_CHECKING:
    import runtime

FOLDER = Path(__file__).parent / "classifiers"
SECOND = "-second"
"""Ends the name of a data set's second judge: the same recipe from another seed. It gives no
features, so its accuracy is independent of the features of the Fréchet distance."""
BATCH = 256


class Classifier:
    """A frozen classifier, run by onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        record = json.loads(path.with_suffix(".json").read_text())
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != record["sha256"]:
            raise UnfitError(
                f"{path}: expected SHA-256 {record['sha256']}, found {found}: "
                "restore it, or train it anew with `python -m benchmarks classifier`"
            )
        self.name: str = path.stem
        self.sha256: str = found
        self.record: dict[str, Any] = record
        self.classes: tuple[str, ...] = tuple(record["classes"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 images [B, H, W, C] -> class probabilities [B, 10], features [B, D]. UnfitError
        for images of another size or with other channels."""
        expected = self._session.get_inputs()[0].shape[1:]
        if list(images.shape[1:]) != expected:
            raise UnfitError(
                f"images: expected {expected} (H, W, C), which the classifier {self.name} knows, "
                f"found {list(images.shape[1:])}"
            )
        batches = [
            self._session.run(
                ["probabilities", "features"], {"images": images[start : start + BATCH]}
            )
            for start in range(0, len(images), BATCH)
        ]
        probabilities, features = zip(*batches, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)


def subject(model: "runtime.Model", judges: Sequence[Classifier], **data: Any) -> dict[str, Any]:
    """What was measured, for `write_json`: the model, by which judges, against what data."""
    return {
        "artifact": model.manifest.full_name,
        "engine": model.engine,
        "classifiers": {
            judge.name: {"sha256": judge.sha256, "test": judge.record["test"]} for judge in judges
        },
        "data": data,
    }


def load_second(name: str) -> Classifier | None:
    """The second judge of the data set `name`; None where none is committed."""
    path = FOLDER / f"{name}{SECOND}.onnx"
    return Classifier(path) if path.is_file() else None


def load_classifier(name: str) -> Classifier:
    """The committed classifier `name`."""
    path = FOLDER / f"{name}.onnx"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a frozen classifier; train it with "
            f"`python -m benchmarks classifier {name} --data PATH`"
        )
    return Classifier(path)
