"""Embeddings in, labelled images out: scores, probabilities, and what is decided on them."""

from dataclasses import dataclass

import numpy as np

from medsiglip_search.labels.calibration import Calibration
from medsiglip_search.labels.classifier import Classifier

ABSENT, PRESENT, ABSTAIN = np.int8(0), np.int8(1), np.int8(2)
DECISIONS = ("absent", "present", "abstain")
"""The words for the three, by their numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """N images against L labels.

    scores, probabilities: (N, L) float32. calibrated: (N, L) float32, NaN where a label has no calibration;
    None without any. decisions: (N, L) int8, see `DECISIONS`.
    """

    scores: np.ndarray
    probabilities: np.ndarray
    calibrated: np.ndarray | None
    decisions: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The probabilities to go by, (N, L) float32: calibrated ones where there are any."""
        return best_of(self.probabilities, self.calibrated)


def best_of(probabilities: np.ndarray, calibrated: np.ndarray | None) -> np.ndarray:
    """Return the calibrated probabilities, and others where there are none."""
    if calibrated is None:
        return probabilities
    return np.where(np.isnan(calibrated), probabilities, calibrated)


@dataclass(frozen=True, slots=True)
class Labeller:
    """A classifier and, perhaps, its calibration."""

    classifier: Classifier
    calibration: Calibration | None = None

    def label(self, embeddings: np.ndarray) -> Labelled:
        """Return what (N, D) embeddings show."""
        return self.of_scores(self.classifier.scores(embeddings))

    def of_scores(self, scores: np.ndarray) -> Labelled:
        """Return what (N, L) scores of the classifier come to, such as those pooled over a study."""
        probabilities = self.classifier.probabilities(scores)
        calibrated = None
        if self.calibration is not None:
            calibrated = self.calibration.probabilities(scores, self.classifier)
        best = best_of(probabilities, calibrated)
        decide = self._decide_findings if self.classifier.mode == "findings" else self._decide_exclusive
        return Labelled(scores, probabilities, calibrated, decide(best))

    def _decide_findings(self, probabilities: np.ndarray) -> np.ndarray:
        present_from, absent_below = self._bounds()
        present = probabilities >= present_from.astype(np.float32)
        absent = probabilities < absent_below.astype(np.float32)
        return ABSTAIN - present.view(np.int8) - 2 * absent.view(np.int8)

    def _decide_exclusive(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the likeliest label of each image as present and the others as absent, or all as abstain."""
        decisions = np.full(probabilities.shape, ABSENT)
        rows, best = np.arange(len(probabilities)), probabilities.argmax(axis=1)
        decisions[rows, best] = PRESENT
        decisions[probabilities[rows, best] < self.thresholds[best].astype(np.float32)] = ABSTAIN
        return decisions

    @property
    def thresholds(self) -> np.ndarray:
        """The probability from which each label counts as present, or is kept if exclusive, (L,) float64."""
        thresholds = self.classifier.thresholds.copy()
        if self.calibration is None:
            return thresholds
        if self.classifier.mode == "exclusive":
            return np.full(len(thresholds), self.calibration.keep_from or 0.0)
        for column, label in enumerate(self.classifier.labels):
            if own := (self.calibration.findings or {}).get(label):
                thresholds[column] = own.threshold
        return thresholds

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return from which probability a finding is present, and below which absent, (L,) float64 each."""
        present_from, absent_below = self.thresholds, self.thresholds
        if self.calibration is None or self.calibration.abstain_level is None:
            return present_from, absent_below
        for column, label in enumerate(self.classifier.labels):
            if own := (self.calibration.findings or {}).get(label):
                kept_present = np.inf if own.present_from is None else own.present_from
                kept_absent = -np.inf if own.absent_below is None else own.absent_below
                present_from[column] = max(own.threshold, kept_present)
                absent_below[column] = min(own.threshold, kept_absent)
        return present_from, absent_below
