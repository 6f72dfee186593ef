"""How good labels are: what a labeller says of images, against the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, logsumexp

from medsiglip_search.evaluate import metrics
from medsiglip_search.evaluate.resampling import Bootstrap, Estimate, mean_of
from medsiglip_search.labels import Mode
from medsiglip_search.labels.labeller import ABSTAIN, PRESENT, Labelled, Labeller
from medsiglip_search.truth import Truth

_MOST_POINTS = 200
"""Of a ROC curve that is kept to be drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """The bins of a calibration error that hold images: how many, their mean probability, and how many of
    them show the label, as a share; (B,) each."""

    images: np.ndarray
    probability: np.ndarray
    present: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class LabelFigures:
    """Of one label.

    images: whose truth is known; positives of them show it. patients: theirs.
    figures: by name, see `FIGURES`. undefined: why figures are, None if all are defined.
    roc: (2, P) false and true positive rate, None where that is undefined.
    """

    label: str
    images: int
    positives: int
    patients: int
    threshold: float
    figures: Mapping[str, Estimate]
    undefined: str | None
    roc: np.ndarray | None
    reliability: Reliability


FIGURES = {
    "auc": "area under the ROC curve",
    "average_precision": "area under precision over recall",
    "f1": "F1 of the decision at the threshold, for every image, abstained from or not",
    "sensitivity": "share of the positive images decided to be present",
    "specificity": "share of the negative images decided to be absent",
    "calibration_error": "expected calibration error of the probability, 15 bins",
    "abstained": "share of the images that are abstained from",
    "kept_right": "share of the other decisions that are right",
}

OVERALL = {
    "accuracy": "share of the images whose likeliest label is the true one",
    "balanced_accuracy": "the same by label, averaged",
    "calibration_error": "expected calibration error of the likeliest label's probability, 15 bins",
    "abstained": "share of the images that are abstained from",
    "kept_right": "share of the others whose likeliest label is the true one",
}


@dataclass(frozen=True, slots=True, eq=False)
class Overall:
    """Of exclusive labels taken together.

    images: that show just one of the labels. figures: see `OVERALL`.
    confusion: (T, L) int64, images by true label and likeliest label, of all `predicted` labels of the set.
    """

    images: int
    figures: Mapping[str, Estimate]
    confusion: np.ndarray
    predicted: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelEvaluation:
    """Of all labels of a set that the truth knows.

    macro: means over the labels for which a figure is defined. overall: of exclusive labels.
    """

    mode: Mode
    labels: tuple[LabelFigures, ...]
    macro: Mapping[str, Estimate]
    overall: Overall | None


def evaluate_labels(
    scores: np.ndarray, labeller: Labeller, truth: Truth, bootstrap: Bootstrap
) -> LabelEvaluation:
    """Return how good the labels are that the truth knows of.

    scores: (N, L) float32 of the truth's images, as the classifier of the labeller gives them.
    """
    classifier = labeller.classifier
    columns = [classifier.labels.index(label) for label in truth.labels]
    labelled = labeller.of_scores(scores)
    # Sensitivity and specificity are those of the threshold: to abstain must not make them better.
    decided = _never_abstaining(labeller).of_scores(scores).decisions[:, columns] == PRESENT
    present, kept = truth.present, labelled.decisions[:, columns] != ABSTAIN
    known = present >= 0
    to_rank, probabilities = _to_rank(scores, labeller)[:, columns], labelled.best[:, columns]
    rankings = [metrics.ranked(*of_label) for of_label in zip(to_rank.T, present.T, strict=True)]
    right = decided == (present == 1)
    sums: dict[str, list[np.ndarray]] = {name: [] for name in FIGURES}
    for weights in bootstrap.weights():
        counts = metrics.counts(decided, present, weights)
        curves = (metrics.curve(ranking, weights) for ranking in rankings)
        areas = [(metrics.auc(curve), metrics.average_precision(curve)) for curve in curves]
        of_chunk = {
            "auc": np.array([area for area, _ in areas]),
            "average_precision": np.array([area for _, area in areas]),
            "f1": metrics.f1(counts),
            "sensitivity": metrics.sensitivity(counts),
            "specificity": metrics.specificity(counts),
            "calibration_error": np.array(
                [
                    metrics.calibration_error(*of_label, weights)
                    for of_label in zip(probabilities.T, present.T, strict=True)
                ]
            ),
            "abstained": metrics.share(~kept, known, weights),
            "kept_right": metrics.share(right, kept & known, weights),
        }
        for name, chunk in of_chunk.items():
            sums[name].append(chunk)
    values = {name: np.concatenate(chunks, axis=1) for name, chunks in sums.items()}
    thresholds = labeller.thresholds
    labels = tuple(
        LabelFigures(
            label=label,
            images=int(rows.sum()),
            positives=int((present[:, column] == 1).sum()),
            patients=len(np.unique(truth.patients[rows])),
            threshold=float(thresholds[columns[column]]),
            figures={name: Estimate.of(values[name][column]) for name in FIGURES},
            undefined=_why_undefined(present[rows, column]),
            roc=_roc(to_rank[rows, column], present[rows, column] == 1),
            reliability=_reliability(probabilities[rows, column], present[rows, column] == 1),
        )
        for column, (label, rows) in enumerate(zip(truth.labels, known.T, strict=True))
    )
    macro = {name: mean_of([label.figures[name] for label in labels]) for name in FIGURES}
    overall = None
    if classifier.mode == "exclusive":
        overall = _evaluate_together(labelled, labeller, truth, bootstrap)
    return LabelEvaluation(classifier.mode, labels, macro, overall)


def _evaluate_together(labelled: Labelled, labeller: Labeller, truth: Truth, bootstrap: Bootstrap) -> Overall:
    """Return how good exclusive labels are together, on images that show just one."""
    names = labeller.classifier.labels
    rows = (truth.present == 1).sum(axis=1) == 1
    numbers = np.array([names.index(label) for label in truth.labels])
    shown = truth.present[rows].argmax(axis=1)
    best = labelled.best[rows]
    likeliest, confidence = best.argmax(axis=1), best.max(axis=1)
    right = likeliest == numbers[shown]
    kept = labelled.decisions[rows][:, :1] != ABSTAIN  # an image is kept or abstained from as a whole
    everyone = np.ones_like(kept)
    chunks: list[list[np.ndarray]] = []
    for all_weights in bootstrap.weights():
        weights = all_weights[rows]
        chunks.append(
            [
                metrics.accuracy(right, weights),
                metrics.balanced_accuracy(right, shown, weights),
                metrics.calibration_error(confidence, right, weights),
                metrics.share(~kept, everyone, weights)[0],
                metrics.share(right[:, None], kept, weights)[0],
            ]
        )
    values = (np.concatenate(each) for each in zip(*chunks, strict=True))
    confusion = np.zeros((len(truth.labels), len(names)), np.int64)
    np.add.at(confusion, (shown, likeliest), 1)
    figures = {name: Estimate.of(each) for name, each in zip(OVERALL, values, strict=True)}
    return Overall(int(rows.sum()), figures, confusion, names)


def _to_rank(scores: np.ndarray, labeller: Labeller) -> np.ndarray:
    """Return (N, L) what images are ranked by for each label, such that probabilities near 1 do not tie."""
    if labeller.classifier.mode == "findings":
        return scores
    # One label against the rest by its softmax, as arXiv 2507.05201 does, or by the odds, in the same order:
    # its logit less those of all others, as one.
    logits = labeller.classifier.scale * scores.astype(np.float64)
    shares = log_softmax(logits, axis=1)
    likeliest = shares.argmax(axis=1)[:, None]
    np.put_along_axis(shares, likeliest, -np.inf, axis=1)
    others = logsumexp(shares, axis=1, keepdims=True)  # of all but the likeliest, for which 1 - p is lost
    odds = shares - np.log1p(-np.exp(shares))
    np.put_along_axis(odds, likeliest, np.log1p(-np.exp(others)) - others, axis=1)
    return odds


def _never_abstaining(labeller: Labeller) -> Labeller:
    """Return the labeller with the thresholds it has, but an answer for every image."""
    classifier, calibration = labeller.classifier, labeller.calibration
    if classifier.mode == "exclusive":
        classifier = replace(classifier, thresholds=np.zeros(len(classifier.labels)))
    if calibration is not None:
        calibration = replace(calibration, abstain_level=None, keep_from=None)
    return Labeller(classifier, calibration)


def _why_undefined(present: np.ndarray) -> str | None:
    """Return why a label cannot be told from its absence; present: of the images whose truth is known."""
    if not len(present):
        return "the truth says nothing of it"
    if present.all():
        return f"all {len(present)} images show it"
    if not present.any():
        return f"none of {len(present)} images shows it"
    return None


def _roc(scores: np.ndarray, present: np.ndarray) -> np.ndarray | None:
    from sklearn.metrics import roc_curve

    if present.all() or not present.any():
        return None
    curve = np.array(roc_curve(present, scores)[:2])
    points = np.linspace(0, curve.shape[1] - 1, min(_MOST_POINTS, curve.shape[1])).round().astype(int)
    return curve[:, points]


def _reliability(probabilities: np.ndarray, present: np.ndarray) -> Reliability:
    bins = metrics.bins_of(probabilities)
    images = np.bincount(bins, minlength=metrics.ECE_BINS)
    there = images > 0
    probability, shows = (
        np.bincount(bins, weights, metrics.ECE_BINS)[there] / images[there]
        for weights in (probabilities.astype(np.float64), present.astype(np.float64))
    )
    return Reliability(images[there], probability, shows)
