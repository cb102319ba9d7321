"""Latents: what `Sample` decodes, for those who want to change it first."""

from runtime.artifact.manifest import Manifest
from runtime.requests import sample


def answered_by(manifest: Manifest) -> bool:
    return sample.answered_by(manifest)
