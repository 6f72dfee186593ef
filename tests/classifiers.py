"""Classifiers whose labels are axes, for the tests of calibrations and decisions."""

import numpy as np
from labelled import classifier

from medsiglip_search.labels import Mode
from medsiglip_search.labels.classifier import Classifier


def classifier_of(*labels: str, mode: Mode = "findings", scale: float = 1.0) -> Classifier:
    """Return a classifier that scores each label by an axis of its own."""
    axes, digest = np.eye(len(labels)), "digest of " + " ".join(labels)
    return classifier(axes, labels, mode, scale, name="by-hand", digest=digest)
