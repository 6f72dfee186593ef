"""What a calibration holds: probabilities that mean what they say, thresholds, and when to abstain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from medsiglip_search.labels import Mode
from medsiglip_search.labels.classifier import Classifier, probabilities_of
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.truth import Truth


@dataclass(frozen=True, slots=True)
class FittedOn:
    """The data that a calibration or a probe was fitted on.

    truth: the table's file name and truth_digest its SHA-256. present: images of each label.
    fitted_at: ISO 8601, UTC.
    """

    truth: str
    truth_digest: str
    images: int
    patients: int
    present: Mapping[str, int]
    fitted_at: str

    @classmethod
    def of(cls, truth: Truth, labels: Sequence[str], present: np.ndarray, patients: np.ndarray) -> "FittedOn":
        """Return it of images of a truth. present: (N, L) int8 of the labels. patients: (N,) int64."""
        counts = (present == 1).sum(axis=0).tolist()
        return cls(
            truth=truth.path.name,
            truth_digest=truth.digest,
            images=len(present),
            patients=len(np.unique(patients)),
            present=dict(zip(labels, counts, strict=True)),
            fitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


@dataclass(frozen=True, slots=True)
class FindingCalibration:
    """Of one finding: its probability is the logistic function of `slope * logit + intercept` (Platt).

    threshold: the calibrated probability from which it is present.
    present_from, absent_below: where a decision is kept; in between the answer is abstain. None: nowhere.
    """

    slope: float
    intercept: float
    threshold: float
    present_from: float | None = None
    absent_below: float | None = None


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """How a calibration does on patients that it was not fitted on, by cross-validation.

    label: its name, or that of all labels together. images, present: looked at, and with the label.
    error_before, error_after: expected calibration error of the raw and of the calibrated probability.
    sensitivity: at the threshold. kept: share of images without abstention, right: of these. None: undefined.
    """

    label: str
    images: int
    present: int
    error_before: float | None
    error_after: float | None
    sensitivity: float | None
    kept: float | None
    right: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the logits of one classifier on one encoder's embeddings become probabilities and decisions.

    classifier, classifier_digest: what it was fitted for. encoder, weights_digest, spec: on whose embeddings.
    sensitivity: that the thresholds were chosen for. abstain_level: the share of kept decisions that must be
    right. findings: by label; a finding that is not in it stays as it is. temperature: logits of exclusive
    labels are divided by it. keep_from: the probability of the likeliest one from which it is kept; above 1
    where that is never. checks: by label, and of all together.
    """

    classifier: str
    classifier_digest: str
    mode: Mode
    encoder: str
    weights_digest: str
    spec: PreprocessSpec
    fitted_on: FittedOn
    sensitivity: float | None = None
    abstain_level: float | None = None
    findings: Mapping[str, FindingCalibration] | None = None
    temperature: float | None = None
    keep_from: float | None = None
    checks: tuple[LabelCheck, ...] = ()

    def probabilities(self, scores: np.ndarray, classifier: Classifier) -> np.ndarray:
        """Return (N, L) float32 calibrated probabilities of scores; NaN for labels that are not in it."""
        logits = np.float32(classifier.scale) * scores
        if self.findings is None:
            return probabilities_of(logits / np.float32(self.temperature or 1), self.mode)
        slopes, intercepts = np.full((2, len(classifier.labels)), np.nan, np.float32)
        for column, label in enumerate(classifier.labels):
            if label in self.findings:
                slopes[column] = self.findings[label].slope
                intercepts[column] = self.findings[label].intercept
        return probabilities_of(slopes * logits + intercepts, self.mode)
