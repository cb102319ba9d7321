"""Estimators of quality: functions of arrays, which know nothing of models."""

from train.metrics.attributes import share_right
from train.metrics.disentanglement import latent_information, mutual_information_gap
from train.metrics.likelihood import importance_weighted_bound
from train.metrics.pictures import mean_absolute, psnr, ssim
from train.metrics.samples import (
    class_shares,
    density_coverage,
    frechet_distance,
    mean_pairwise_distance,
    mode_coverage,
    nearest_neighbours,
    precision_recall,
)
from train.metrics.volumes import intersection_over_union, nearest_overlaps

__all__ = [
    "class_shares",
    "density_coverage",
    "frechet_distance",
    "importance_weighted_bound",
    "intersection_over_union",
    "latent_information",
    "mean_absolute",
    "mean_pairwise_distance",
    "mode_coverage",
    "mutual_information_gap",
    "nearest_neighbours",
    "nearest_overlaps",
    "precision_recall",
    "psnr",
    "share_right",
    "ssim",
]
