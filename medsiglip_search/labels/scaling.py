"""Logits to probabilities that mean what they say, and the cuts that decisions are made at.

Platt, Probabilistic outputs for support vector machines (1999); temperature: Guo et al., arXiv 1706.04599.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

TEMPERATURES = (0.02, 50.0)
"""The bounds of a temperature: labels that are told apart without a mistake would have it go to 0."""


def platt(logits: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept: a probability is the logistic function of `slope * logit + intercept`.

    logits: (N,). present: (N,) bool.
    """
    positives, negatives = int(present.sum()), int((~present).sum())
    # Platt's targets: a little off 1 and 0, or a label without mistakes would have an endless slope.
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    twice = np.concatenate([logits, logits]).astype(np.float64)[:, None]
    outcomes = np.repeat([1, 0], len(logits))
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky")
    fitted.fit(twice, outcomes, sample_weight=np.concatenate([target, 1 - target]))
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """Return what (N, L) logits of exclusive labels are to be divided by. true: (N,) the right places."""
    rows = np.arange(len(true))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / math.exp(log_temperature), axis=1)[rows, true].mean())

    low, high = map(math.log, TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def threshold_for(sensitivity: float, probabilities: np.ndarray, present: np.ndarray) -> float:
    """Return the threshold at or above which a new image with the label is with at least this probability.

    It is the conformal quantile of the probabilities of the images with the label, as low as that takes:
    of n of them the one at place floor((n + 1) * (1 - sensitivity)). So it takes `examples_for(sensitivity)`
    of them; with fewer, it is the lowest.
    """
    ordered = np.sort(probabilities[present])
    place = max(1, math.floor(round((len(ordered) + 1) * (1 - sensitivity), 9)))
    at = float(ordered[place - 1])
    lower = probabilities[probabilities < at]
    return (at + float(lower.max() if len(lower) else 0.0)) / 2


def kept_from(confidence: np.ndarray, right: np.ndarray, level: float) -> float | None:
    """Return the confidence from which decisions are right at least `level` of the time.

    None if nowhere are they, minus infinity if all are kept. Coming from the top, it is the last cut before
    the first at which no longer (wrong + 1) / (kept + 1) <= 1 - level among the examples: one more, wrong one
    is counted with them, as conformal risk control does (arXiv 2208.02814), and to take the lowest of all
    cuts that happen to fit would promise too much (arXiv 2110.01052). This says something of new images like
    the examples, on average over both; it does not hold for a group among them. Sets of labels by split
    conformal prediction promise more, and leave even a classifier without mistakes undecided for 1 - level of
    the images.
    """
    if not len(confidence):
        return None
    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], np.cumsum(~right[order])
    kept = np.arange(1, len(ordered) + 1)
    # Equal confidences are kept or left together.
    ends = np.append(ordered[1:] < ordered[:-1], True)
    cuts = np.flatnonzero(ends)
    fits = (wrong[cuts] + 1) / (kept[cuts] + 1) <= 1 - level + 1e-12
    if not fits.any():
        return None
    first = int(fits.argmax())
    failing = np.flatnonzero(~fits[first:])
    last = cuts[first + failing[0] - 1] if len(failing) else len(ordered) - 1
    if last + 1 == len(ordered):
        return -math.inf
    return (float(ordered[last]) + float(ordered[last + 1])) / 2


def examples_for(share: float) -> int:
    """Return how many examples it takes to say that something holds for this share of new ones."""
    return math.ceil(round(share / (1 - share), 9))
