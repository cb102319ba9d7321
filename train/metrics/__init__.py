"""Estimators of quality: functions of arrays, which know nothing of models."""

from train.metrics.disentanglement import latent_information, mutual_information_gap
from train.metrics.likelihood import importance_weighted_bound
from train.metrics.samples import (
    class_shares,
    density_coverage,
    frechet_distance,
    mean_pairwise_distance,
    mode_coverage,
    nearest_neighbours,
    precision_recall,
)

__all__ = [
    "class_shares",
    "density_coverage",
    "frechet_distance",
    "importance_weighted_bound",
    "latent_information",
    "mean_pairwise_distance",
    "mode_coverage",
    "mutual_information_gap",
    "nearest_neighbours",
    "precision_recall",
]
