"""Small classifiers and truths made by hand, for the tests of labels."""

from pathlib import Path
from typing import Any

import numpy as np

from medsiglip_search.labels import THRESHOLDS, Mode
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.truth import Truth


def classifier_of(
    *labels: str, mode: Mode = "findings", scale: float = 1.0, dim: int | None = None
) -> Classifier:
    """Return a classifier that scores each label by an axis of its own."""
    return Classifier(
        name="by-hand",
        mode=mode,
        kind="zero-shot",
        labels=labels,
        weights=np.eye(len(labels), dim or len(labels), dtype=np.float32),
        bias=np.zeros(len(labels), np.float32),
        scale=scale,
        thresholds=np.full(len(labels), THRESHOLDS[mode]),
        digest="digest of " + " ".join(labels),
    )


def truth_of(present: Any, labels: tuple[str, ...], patients: Any = None) -> Truth:
    """Return a truth of these rows, (N, L); each image has a patient of its own unless told otherwise."""
    present = np.asarray(present, np.int8)
    ids = np.arange(1, len(present) + 1)
    return Truth(
        Path("truth.csv"), "cd" * 32, ids, labels, present, ids if patients is None else np.asarray(patients)
    )
