"""A folder as model hubs lay it out: `config.json`, weights in safetensors, a card of the model."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.causes import described_error
from export.shards import is_index, is_shard
from runtime.errors import ExportError

_CONFIG = "config.json"
_CARD = "README.md"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_PICKLES = (".bin", ".ckpt", ".pth", ".pt")
# A repository's own folder name in the hub's cache, and in it one snapshot.
_CACHED = re.compile(r"models--([^/]+)/snapshots/[^/]+")


@dataclass(frozen=True)
class ModelFolder:
    """One network: its config, its weights, and what the card says of it."""

    config: Mapping[str, Any]
    weights: Path
    model: str
    """Its id on a hub, or else the name that its card gives, or that of its folder."""
    licence: str

    @property
    def kind(self) -> str:
        return str(self.config.get("_class_name"))


def model_folder(path: str, subfolder: str | None, known: Iterable[str]) -> ModelFolder:
    """The network in `path`, a folder or the id of a repository on a hub, and its `subfolder`.

    `known`: the classes that can be exported. Raises ExportError that names what is missing.
    """
    root = Path(path)
    is_local = root.exists()
    if not is_local:
        root = _downloaded(path, subfolder)
    folder = root / subfolder if subfolder else root
    if folder.is_file():
        raise ExportError(
            f"{folder}: expected a folder with {_CONFIG} and safetensors, found a file: write the "
            'folder with diffusers.AutoencoderKL.from_single_file(FILE).save_pretrained("FOLDER")'
        )
    if not folder.is_dir():
        raise ExportError(f"{folder}: expected a folder with {_CONFIG} and safetensors, found none")
    config = _config(folder, tuple(known))
    card = _card(folder) or _card(folder.parent if subfolder else folder)
    weights = _weights(folder, str(config["_class_name"]))
    return ModelFolder(config, weights, _model(path, root, card), _licence(card))


def _downloaded(path: str, subfolder: str | None) -> Path:
    """A snapshot of the repository's config, weights and card; nothing else is fetched."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise ExportError(f"{path}: expected a folder, or the id of a repository on a hub")
    from huggingface_hub import snapshot_download

    within = f"{subfolder}/" if subfolder else ""
    patterns = [f"{within}{_CONFIG}", f"{within}diffusion_pytorch_model*.safetensors*", _CARD]
    try:
        found = snapshot_download(path, allow_patterns=[*patterns, f"*/{_CONFIG}"])
    except Exception as error:  # of the network, of the hub, of access: many kinds
        raise ExportError(
            f"{path}: no such folder here, and the hub does not give it: {described_error(error)}: "
            "give the path of a folder that was downloaded, or set HF_ENDPOINT and HF_TOKEN"
        ) from error
    return Path(found)


def _config(folder: Path, known: tuple[str, ...]) -> dict[str, Any]:
    file = folder / _CONFIG
    if not file.is_file():
        inside = [each.parent.name for each in sorted(folder.glob(f"*/{_CONFIG}"))]
        usable = [name for name in inside if _class(folder / name / _CONFIG) in known]
        if usable:
            raise ExportError(
                f"{folder}: expected one model, found several ({', '.join(inside)}): choose with "
                f"--subfolder {' or '.join(usable)}"
            )
        raise ExportError(
            f"{file}: expected a model's config beside its weights, found none: give the folder "
            "that `save_pretrained` of diffusers wrote"
        )
    config = _object(file)
    kind = config.get("_class_name")
    if kind not in known:
        raise ExportError(
            f"{file}: _class_name: expected {', '.join(known)}, found {kind!r}"
            + ("" if kind else ": is it a config of diffusers?")
        )
    return config


def _class(file: Path) -> object:
    try:
        return _object(file).get("_class_name")
    except ExportError:
        return None


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file}: expected a JSON object: {described_error(error)}") from error
    if not isinstance(found, dict):
        raise ExportError(f"{file}: expected a JSON object, found {found!r:.40}")
    return found


def _weights(folder: Path, kind: str) -> Path:
    """The one safetensors file, or the index of its shards; where there are several, the one
    without a variant's name."""
    files = [f for f in sorted(folder.iterdir()) if is_index(f) or f.suffix == ".safetensors"]
    found = [file for file in files if not is_shard(file)]
    plain = [file for file in found if file.name in (_WEIGHTS, f"{_WEIGHTS}.index.json")]
    if len(found) == 1 or plain:
        return (plain or found)[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise ExportError(f"{folder}: expected one file {_WEIGHTS}, found {names}: keep one")
    if files:
        raise ExportError(
            f"{folder}: expected {_WEIGHTS}.index.json, which lists the shards, found none"
        )
    pickles = [file for file in sorted(folder.iterdir()) if file.suffix in _PICKLES]
    if pickles:
        raise ExportError(
            f"{pickles[0]}: expected safetensors, found a pickle, which can run any code when it "
            f"is opened: if you trust its maker, convert it with "
            f"{_saving(folder, kind, ', use_safetensors=False')}"
        )
    raise ExportError(f"{folder / _WEIGHTS}: expected the weights, found none")


def _saving(folder: Path, kind: str, option: str) -> str:
    return f'diffusers.{kind}.from_pretrained("{folder}"{option}).save_pretrained("NEW")'


def _card(folder: Path) -> dict[str, Any]:
    """The front matter of the folder's card; nothing where there is none, or none to be read."""
    from huggingface_hub import metadata_load

    try:
        return metadata_load(folder / _CARD) or {}
    except Exception:  # no file, no YAML, no mapping: it says nothing
        return {}


def _licence(card: Mapping[str, Any]) -> str:
    licence = card.get("license")
    if licence == "other":  # the hub's word for a licence of one's own
        licence = card.get("license_name") or card.get("license_link") or licence
    if isinstance(licence, list):
        licence = ", ".join(str(each) for each in licence)
    return str(licence) if licence else "not stated"


def _model(path: str, root: Path, card: Mapping[str, Any]) -> str:
    cached = _CACHED.search(root.absolute().as_posix())
    if cached:
        return cached[1].replace("--", "/")
    if not Path(path).exists():
        return path
    named = card.get("model_id") or card.get("model_name")
    return str(named) if named else root.absolute().name
