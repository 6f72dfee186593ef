"""Classifiers made by hand and galleries to label, for the tests of labelling."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from galleries import gallery_of, instance

from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import THRESHOLDS, Mode
from medsiglip_search.labels.calibration import Calibration, FindingCalibration, FittedOn
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.records import PreprocessSpec

FINDINGS = ("Pleural effusion", "nodule; left", "fracture")


def classifier(
    weights: Any,
    labels: Sequence[str] = FINDINGS,
    mode: Mode = "findings",
    scale: float = 4.0,
    **changes: Any,
) -> Classifier:
    """Return a classifier whose labels are these directions, (L, D)."""
    weights = np.asarray(weights, np.float32)
    values: dict[str, Any] = {
        "name": "demo findings",
        "mode": mode,
        "kind": "zero-shot",
        "labels": tuple(labels),
        "weights": weights,
        "bias": np.zeros(len(weights), np.float32),
        "scale": scale,
        "thresholds": np.full(len(weights), THRESHOLDS[mode]),
        "digest": "cd" * 32,
    }
    return Classifier(**values | changes)


def calibration(findings: dict[str, FindingCalibration] | None = None, **values: Any) -> Calibration:
    """Return a calibration of the `classifier` above."""
    fitted_on = FittedOn("truth.csv", "ef" * 32, 10, 5, {}, "2026-01-01T00:00:00+00:00")
    common = ("demo findings", "cd" * 32, "findings", "by-hand", "ab" * 32, PreprocessSpec(size=2), fitted_on)
    return Calibration(*common, findings=findings, **values)


def random_gallery(path: Path, count: int, dim: int = 8, seed: int = 0, **attributes: Any) -> Gallery:
    """Make a gallery of this many images in all directions; attributes: a list for each that images have."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    instances = [
        instance(f'{number} "a", b.png', **{name: cells[number] for name, cells in attributes.items()})
        for number in range(count)
    ]
    return gallery_of(path, rows, instances)


def random_labeller(dim: int = 8, labels: int = 3, mode: Mode = "findings", **changes: Any) -> Labeller:
    weights = np.random.default_rng(1).standard_normal((labels, dim))
    names = [f"label {number}" for number in range(labels)]
    return Labeller(classifier(weights, names, mode, **changes))


def expected(gallery: Gallery, labeller: Labeller, where: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return image_ids and scores (N, L) as NumPy computes them in float64."""
    ids, embeddings = gallery.embeddings(where)
    made = labeller.classifier
    return ids, embeddings.astype(np.float64) @ made.weights.T.astype(np.float64) + made.bias


def words(text: str) -> list[str]:
    return re.split(r"\s{2,}", text.strip())
